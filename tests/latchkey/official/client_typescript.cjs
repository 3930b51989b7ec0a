// @gitpod/sdk 0.6.0, as a program of a user's uses it.

const assert = require('node:assert/strict');
const { writeFileSync } = require('node:fs');
const { Gitpod } = require('@gitpod/sdk');

const { BASE_URL: baseURL, TOKEN: bearerToken } = process.env;
const nowhere = '00000000-0000-7000-8000-000000000000';

function client(options = {}) {
  return new Gitpod({ baseURL, bearerToken, ...options });
}

async function refused(kind, call, words = '') {
  try {
    await call();
  } catch (error) {
    assert.equal(error.constructor, kind, String(error));
    assert.ok(String(error.message).includes(words), String(error));
    return error;
  }
  assert.fail(`${kind.name} did not come`);
}

/** Waits as the SDK's examples do. */
async function until(here, environmentId, phase) {
  for await (const event of await here.events.watch({ environmentId })) {
    assert.equal(event.resourceId, environmentId);
    const { environment } = await here.environments.retrieve({ environmentId });
    assert.deepEqual(environment.status.failureMessage ?? [], []);
    if (environment.status.phase === phase) return;
  }
  assert.fail('the stream ended');
}

const cases = {
  async the_life_of_an_environment(url) {
    const here = client();
    const { environment } = await here.environments.create({
      spec: {
        desiredPhase: 'ENVIRONMENT_PHASE_RUNNING',
        content: { initializer: { specs: [{ contextUrl: { url } }] } },
      },
    });
    const environmentId = environment.id;
    await until(here, environmentId, 'ENVIRONMENT_PHASE_RUNNING');
    await here.environments.stop({ environmentId });
    await until(here, environmentId, 'ENVIRONMENT_PHASE_STOPPED');
    await here.environments.start({ environmentId });
    await until(here, environmentId, 'ENVIRONMENT_PHASE_RUNNING');
    await here.environments.delete({ environmentId });
    for await (const event of await here.events.watch({ environmentId })) {
      if (event.operation === 'RESOURCE_OPERATION_DELETE') break;
    }
    await refused(Gitpod.NotFoundError, () => here.environments.retrieve({ environmentId }), environmentId);
  },

  async lists_end_and_have_everything_once(...environments) {
    const here = client();
    const tokens = [];
    for await (const token of here.users.pats.list({ pageSize: 2 })) tokens.push(token.id);
    assert.equal(new Set(tokens).size, 5);
    assert.equal(tokens.length, 5);
    const found = [];
    for await (const environment of here.environments.list({ pageSize: 1 })) found.push(environment.id);
    assert.deepEqual(found.sort(), environments.sort());
    const { subject } = await here.identity.getAuthenticatedIdentity({});
    assert.equal(subject.principal, 'PRINCIPAL_USER');
  },

  async errors_are_the_clients_own(readOnly) {
    const here = client();
    await refused(Gitpod.NotFoundError, () => here.environments.retrieve({ environmentId: nowhere }), nowhere);
    await refused(Gitpod.BadRequestError, () => here.environments.retrieve({ environmentId: 'x' }), 'environment_id');
    const stranger = client({ bearerToken: 'gitpod_pat_x' });
    await refused(Gitpod.AuthenticationError, () => stranger.identity.getAuthenticatedIdentity({}), 'valid token');
    await refused(Gitpod.AuthenticationError, () => stranger.events.watch({ organization: true }), 'valid token');
    const reader = client({ bearerToken: readOnly });
    await refused(Gitpod.PermissionDeniedError, () => reader.environments.delete({ environmentId: nowhere }));
  },

  async what_cannot_be_mended_is_asked_once() {
    let requests = 0;
    const counting = (...request) => (requests++, fetch(...request));
    const here = client({ fetch: counting });
    await refused(Gitpod.InternalServerError, () => here.environments.createFromProject({ projectId: nowhere }));
    assert.equal(requests, 1);
  },

  async whoever_goes_on_guessing_is_told_to_wait() {
    let told;
    const looking = async (...request) => {
      const response = await fetch(...request);
      if (response.status === 429) told = response;
      return response;
    };
    const guessing = client({ bearerToken: 'gitpod_pat_x', fetch: looking });
    while (!told) {
      // It waits as long as it is told to, asks again, and hears what is wrong as before.
      const call = () => guessing.identity.getAuthenticatedIdentity({});
      await refused(Gitpod.AuthenticationError, call, 'valid token');
    }
    assert.equal(told.headers.get('retry-after'), '1');
    assert.equal(told.headers.get('x-should-retry'), null);
    // Somebody else at the same address notices nothing.
    await client({ maxRetries: 0 }).identity.getAuthenticatedIdentity({});
  },

  async a_call_that_takes_too_long(personalAccessTokenId) {
    let requests = 0;
    const counting = (...request) => (requests++, fetch(...request));
    const here = client({ fetch: counting, timeout: 500, maxRetries: 1 });
    await refused(Gitpod.APIConnectionTimeoutError, () => here.users.pats.delete({ personalAccessTokenId }));
    assert.equal(requests, 2, 'it asks again as often as it was told to');
  },

  async what_is_mended_meanwhile(refusedOnce) {
    const statuses = [];
    const looking = async (...request) => {
      const response = await fetch(...request);
      statuses.push(response.status);
      if (response.status !== 200) {
        assert.equal(response.headers.get('retry-after'), '1');
        writeFileSync(refusedOnce, '');
      }
      return response;
    };
    const here = client({ fetch: looking, maxRetries: 20 });
    const { subject } = await here.identity.getAuthenticatedIdentity({});
    assert.equal(subject.principal, 'PRINCIPAL_USER');
    assert.equal(statuses.at(0), 503, String(statuses));
  },

  async events_come_as_they_happen(watching, created, deleted) {
    const events = (await client().events.watch({ organization: true }))[Symbol.asyncIterator]();
    writeFileSync(watching, '');
    assert.equal((await events.next()).value.operation, 'RESOURCE_OPERATION_CREATE');
    writeFileSync(created, '');
    assert.equal((await events.next()).value.operation, 'RESOURCE_OPERATION_DELETE');
    writeFileSync(deleted, '');
    // The token is revoked now. A stream that has begun can but break off: a line would be taken for an event.
    await assert.rejects(events.next(), (error) => error instanceof TypeError && error.message === 'terminated');
  },
};

const [name, ...args] = process.argv.slice(2);
cases[name](...args).then(() => console.log(`${name} ends well`));
