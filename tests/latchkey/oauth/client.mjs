// oauth4webapi, as a resource server uses it: it finds the endpoints, and authenticates with client_secret_basic.

import assert from 'node:assert/strict';
import * as oauth from 'oauth4webapi';

const { ISSUER, ASKING, ASKING_ID, TOKEN, TOKEN_ID, FORGED } = process.env;
const insecure = { [oauth.allowInsecureRequests]: true };

const issuer = new URL(ISSUER);
const discovered = await oauth.discoveryRequest(issuer, { algorithm: 'oauth2', ...insecure });
const server = await oauth.processDiscoveryResponse(issuer, discovered);

const client = { client_id: ASKING_ID };
const authentication = oauth.ClientSecretBasic(ASKING);

async function introspect(token, how = authentication) {
  const response = await oauth.introspectionRequest(server, client, how, token, insecure);
  return oauth.processIntrospectionResponse(server, client, response);
}

async function revoke(token, how = authentication) {
  return oauth.processRevocationResponse(await oauth.revocationRequest(server, client, how, token, insecure));
}

const said = await introspect(TOKEN);
assert.equal(said.active, true);
assert.equal(said.jti, TOKEN_ID);
assert.equal(said.iss, ISSUER);
assert.equal(said.scope, 'read write');
assert.ok(said.iat <= Date.now() / 1000 + 60 && said.exp > Date.now() / 1000);
assert.deepEqual(await introspect(FORGED), { active: false });

for (const call of [introspect, revoke]) {
  await assert.rejects(call(TOKEN, oauth.ClientSecretBasic(FORGED)), (error) => {
    // Whichever of the two errors it is, the client has read it as one of OAuth's.
    const { status } = error.cause?.status ? error.cause : error;
    return (status ?? error.response?.status) === 401;
  });
}

assert.equal(await revoke(TOKEN), undefined);
assert.deepEqual(await introspect(TOKEN), { active: false });
assert.equal(await revoke(TOKEN), undefined);
console.log('ends well');
