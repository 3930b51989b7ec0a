// A real OpenID provider: oidc-provider, with accounts and keys that the test says. Reads a command a line, and answers each with a line.
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import { generateKeyPairSync } from 'node:crypto';

// What it has to say of a provider for development is no answer to a command.
console.info = console.warn = console.error;

// Found by NODE_PATH, which `import` does not look at.
const { Provider } = await import(pathToFileURL(`${process.env.NODE_PATH}/oidc-provider/lib/index.js`));

let provider = null;
let accounts = {};
let port = 0;
let server = null;
const keys = new Map();

function key(name, type) {
  if (!keys.has(name)) {
    const pair = type === 'EC' ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : type === 'OKP' ? generateKeyPairSync('ed25519')
        : generateKeyPairSync('rsa', { modulusLength: 2048 });
    keys.set(name, { ...pair.privateKey.export({ format: 'jwk' }), kid: name, use: 'sig' });
  }
  return keys.get(name);
}

async function listen() {
  server = createServer((request, response) => provider(request, response));
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  port = server.address().port;
}

async function close() {
  const closed = new Promise((resolve) => server.close(resolve));
  server.closeAllConnections();
  await closed;
}

// By how much its clock is ahead.
let ahead = 0;
const { now } = Date;
Date.now = () => now() + ahead;

const commands = {
  async later(seconds) {
    ahead += seconds * 1000;
  },
  async listen() {
    await listen();
    return { issuer: `http://127.0.0.1:${port}` };
  },
  close,
  // Whom it knows, by subject.
  async accounts(known) {
    accounts = known;
  },
  async serve({ client, key: name = 'first', algorithm = 'RS256', claimsInToken = false }) {
    const type = algorithm.startsWith('ES') ? 'EC' : algorithm === 'EdDSA' ? 'OKP' : 'RSA';
    const made = new Provider(`http://127.0.0.1:${port}`, {
      clients: [{ id_token_signed_response_alg: algorithm, ...client }],
      enabledJWA: { idTokenSigningAlgValues: [algorithm] },
      jwks: { keys: [key(`${name}-${type}`, type)] },
      claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'groups'] },
      conformIdTokenClaims: !claimsInToken,
      pkce: { required: () => true },
      cookies: { keys: ['cookies of a test'] },
      features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true } },
      findAccount: async (_, id) => (accounts[id] ? { accountId: id, claims: async () => ({ sub: id, ...accounts[id] }) } : undefined),
      // Nobody is asked whether a test may know their address.
      async loadExistingGrant(context) {
        const { oidc } = context;
        const grant = new oidc.provider.Grant({ clientId: oidc.client.clientId, accountId: oidc.session.accountId });
        grant.addOIDCScope('openid email profile');
        await grant.save();
        return grant;
      },
    });
    provider = made.callback();
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
