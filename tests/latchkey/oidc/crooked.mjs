// A provider that says whatever the test wants, with real keys and real signatures: for what a real one cannot be made to say. Reads a command a
// line, and answers each with a line.
import { createServer } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createInterface } from 'node:readline';
import { createHash, createHmac, generateKeyPairSync, sign } from 'node:crypto';

const encode = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');
const pair = () => generateKeyPairSync('rsa', { modulusLength: 2048 });

let issuer = '';
let keys = { kid: 'first', ...pair() };
const stranger = pair();
// What is to go wrong.
let wrong = {};
// How often each path was asked for.
let asked = {};
// Who waits until they are let go on.
let held = [];
// What it was asked with last, at the token's endpoint.
let last = null;

function discovery() {
  return {
    issuer,
    authorization_endpoint: `${issuer}/auth`,
    token_endpoint: `${issuer}/token`,
    userinfo_endpoint: `${issuer}/userinfo`,
    jwks_uri: `${issuer}/jwks`,
    response_types_supported: ['code'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['RS256'],
    ...wrong.discovery,
  };
}

function jwks() {
  return { keys: [{ ...keys.publicKey.export({ format: 'jwk' }), kid: keys.kid, use: 'sig', alg: 'RS256' }] };
}

function idToken(nonce, clientId) {
  const now = Math.floor(Date.now() / 1000);
  const claims = {
    iss: issuer, aud: clientId, sub: 'ann', iat: now, exp: now + 300, nonce,
    email: 'ann@acme.example', email_verified: true, name: 'Ann', ...wrong.claims,
  };
  for (const [name, value] of Object.entries(claims)) if (value === null) delete claims[name];
  const algorithm = wrong.algorithm ?? 'RS256';
  const said = algorithm === 'HS256-public' ? 'HS256' : algorithm;
  const text = `${encode({ alg: said, kid: wrong.kid ?? keys.kid, typ: 'JWT' })}.${encode(claims)}`;
  const signature = {
    none: () => '',
    RS256: () => sign('sha256', Buffer.from(text), wrong.stranger ? stranger.privateKey : keys.privateKey).toString('base64url'),
    HS256: () => createHmac('sha256', wrong.secret ?? 'secret').update(text).digest('base64url'),
    'HS256-public': () => createHmac('sha256', keys.publicKey.export({ type: 'spki', format: 'pem' })).update(text).digest('base64url'),
  }[algorithm]();
  return `${text}.${wrong.signature ?? signature}`;
}

function authorize(url) {
  const query = url.searchParams;
  const back = new URL(query.get('redirect_uri'));
  const code = encode({ nonce: query.get('nonce'), challenge: query.get('code_challenge'), client: query.get('client_id') });
  const answer = { code, state: query.get('state'), ...wrong.answer };
  for (const [name, value] of Object.entries(answer)) if (value !== null) back.searchParams.set(name, value);
  return [303, { location: back.href }, ''];
}

function token(request, body) {
  const form = new URLSearchParams(body);
  last = { authorization: request.headers.authorization ?? null, ...Object.fromEntries(form) };
  const { nonce, challenge, client } = JSON.parse(Buffer.from(form.get('code'), 'base64url'));
  const proven = createHash('sha256').update(form.get('code_verifier') ?? '').digest('base64url') === challenge;
  if (!proven) return json({ error: 'invalid_grant' }, 400);
  const answer = { access_token: 'access', token_type: 'Bearer', expires_in: 60, id_token: idToken(nonce, client), ...wrong.token };
  for (const [name, value] of Object.entries(answer)) if (value === null) delete answer[name];
  return json(answer, wrong.status);
}

const json = (value, status = 200) => [status, { 'content-type': 'application/json' }, JSON.stringify(value)];

function answer(request, url, body) {
  switch (url.pathname) {
    case '/.well-known/openid-configuration': return json(discovery());
    case '/jwks': return json(jwks());
    case '/auth': return authorize(url);
    case '/token': return token(request, body);
    case '/userinfo': return json({ sub: 'ann', ...wrong.userinfo });
    default: return [404, {}, ''];
  }
}

async function serve(request, response) {
  const url = new URL(request.url, issuer);
  asked[url.pathname] = (asked[url.pathname] ?? 0) + 1;
  let body = '';
  for await (const part of request) body += part;
  if (wrong.hold === url.pathname) await new Promise((resolve) => held.push(resolve));
  switch (wrong.behave?.[url.pathname]) {
    // It says nothing, and goes on listening.
    case 'silent': return;
    case 'huge': {
      response.writeHead(200, { 'content-type': 'application/json' });
      response.end(`{"x":"${'x'.repeat(4 << 20)}"}`);
      return;
    }
    case 'endless': {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = () => { if (!response.destroyed) response.write('x'.repeat(1 << 16), more); };
      more();
      return;
    }
    case 'trickling': {
      response.writeHead(200, { 'content-type': 'application/json' });
      const timer = setInterval(() => response.write(' '), 100);
      response.on('close', () => clearInterval(timer));
      return;
    }
    case 'redirect': {
      response.writeHead(307, { location: `${issuer}/elsewhere` }).end();
      return;
    }
    default: {
      const [status, headers, text] = answer(request, url, body);
      response.writeHead(status, headers).end(text);
    }
  }
}

const commands = {
  // With a key and a certificate for localhost, by TLS.
  async listen(tls) {
    const server = tls ? createTlsServer(tls, serve) : createServer(serve);
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
    issuer = `${tls ? 'https://localhost' : 'http://127.0.0.1'}:${server.address().port}`;
    return { issuer };
  },
  async wrong(what) { wrong = what; },
  async rotate(kid) { keys = { kid, ...pair() }; },
  async asked() {
    const counts = asked;
    asked = {};
    return counts;
  },
  async last() { return last; },
  // How many wait.
  async held() { return held.length; },
  async release() {
    wrong = {};
    for (const resolve of held.splice(0)) resolve();
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, argument] = JSON.parse(line);
  try {
    console.log(JSON.stringify({ ok: (await commands[command](argument)) ?? null }));
  } catch (error) {
    console.log(JSON.stringify({ error: String(error?.stack ?? error) }));
  }
}
process.exit(0);
