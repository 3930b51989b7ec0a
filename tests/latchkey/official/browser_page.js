// A page that calls the server with @connectrpc/connect-web. Its services come from descriptors: no code is generated.

import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { Code, ConnectError, createClient } from '@connectrpc/connect';
import { createConnectTransport, createGrpcWebTransport } from '@connectrpc/connect-web';

const descriptors = new Uint8Array(await (await fetch('/descriptors')).arrayBuffer());
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, descriptors));

const transports = {
  'Connect, JSON': (options) => createConnectTransport(options),
  'Connect, JSON, GET': (options) => createConnectTransport({ ...options, useHttpGet: true }),
  'Connect, Protobuf': (options) => createConnectTransport({ ...options, useBinaryFormat: true }),
  'Connect, Protobuf, GET': (options) => createConnectTransport({ ...options, useBinaryFormat: true, useHttpGet: true }),
  'gRPC-Web, Protobuf': (options) => createGrpcWebTransport(options),
  'gRPC-Web, JSON': (options) => createGrpcWebTransport({ ...options, useBinaryFormat: false }),
};

function assert(is, what) {
  if (!is) throw new Error(what);
}

async function refused(code, call) {
  try {
    await call();
  } catch (error) {
    assert(error instanceof ConnectError, `not the client's own: ${error}`);
    assert(error.code === code, `${Code[error.code]} in place of ${Code[code]}: ${error.message}`);
    return error;
  }
  throw new Error(`${Code[code]} did not come`);
}

/** Everything that a page does, in one protocol. `happen` sees to it that something becomes of the environment. */
async function works(transport, baseUrl, token, environmentId, happen) {
  const authorized = (next) => (request) => {
    request.header.set('authorization', `Bearer ${token}`);
    return next(request);
  };
  const make = transports[transport];
  const options = { baseUrl, interceptors: [authorized] };
  const client = (name, given = options) => createClient(registry.getService(`gitpod.v1.${name}`), make(given));

  let requestId = null;
  const identity = client('IdentityService');
  const { subject } = await identity.getAuthenticatedIdentity(
    {},
    { onHeader: (headers) => (requestId = headers.get('x-request-id')) },
  );
  assert(subject.id.length === 36, 'no subject');
  assert(requestId?.length === 36, 'the page may not read the ID of its request');

  const tokens = client('TokenService');
  const made = await tokens.createPersonalAccessToken({ description: `made in ${transport}` });
  assert(made.token.startsWith('gitpod_pat_'), 'no token');
  const { personalAccessTokens } = await tokens.listPersonalAccessTokens({ pagination: { pageSize: 100 } });
  const { id } = personalAccessTokens.find(({ description }) => description === `made in ${transport}`);
  await tokens.deletePersonalAccessToken({ personalAccessTokenId: id });

  const environments = client('EnvironmentService');
  const missing = await refused(Code.NotFound, () => environments.getEnvironment({ environmentId: id }));
  assert(missing.rawMessage.includes(id), missing.rawMessage);
  assert(missing.details.length > 0, 'an error without details');
  await refused(Code.InvalidArgument, () => environments.getEnvironment({ environmentId: 'x' }));
  await refused(Code.DeadlineExceeded, async () => {
    for await (const _ of client('EventService').watchEvents({}, { timeoutMs: 200 })) throw new Error('nothing happens');
  });
  const stranger = client('IdentityService', { baseUrl });
  await refused(Code.Unauthenticated, () => stranger.getAuthenticatedIdentity({}));

  const leave = new AbortController();
  const scope = { case: 'environmentId', value: environmentId };
  const events = client('EventService').watchEvents({ scope }, { signal: leave.signal })[Symbol.asyncIterator]();
  const told = async (operation) => {
    const { value } = await events.next();
    assert(value.resourceId === environmentId, `of another environment: ${value.resourceId}`);
    assert(value.operation === operation, `another operation: ${value.operation}`);
  };
  // As it is found; from then on, all that happens.
  await told(4);
  await happen();
  await told(2);
  leave.abort();
  await refused(Code.Canceled, () => events.next());
}

/** A page that the server does not know is told nothing. */
async function isKeptOut(transport, baseUrl, token) {
  const authorized = (next) => (request) => {
    request.header.set('authorization', `Bearer ${token}`);
    return next(request);
  };
  const identity = createClient(
    registry.getService('gitpod.v1.IdentityService'),
    transports[transport]({ baseUrl, interceptors: [authorized] }),
  );
  const error = await refused(Code.Unknown, () => identity.getAuthenticatedIdentity({}));
  assert(error.message.includes('Failed to fetch'), error.message);
}

window.latchkey = { transports: Object.keys(transports), works, isKeptOut };
