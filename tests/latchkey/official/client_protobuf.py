"""gitpod-sdk 1.2.0, as a program of a user's uses it."""

import os
import sys
import time

from gitpod.v1 import environment_pb2, event_pb2, identity_pb2, pagination_pb2, user_pb2
from ona_sdk import create_client, errors


def client(**options):
    return create_client(api_key=os.environ["TOKEN"], base_url=os.environ["BASE_URL"], **options)


def refused(kind, call, words=""):
    """The call fails with exactly this exception of the client's own, whose text has these words."""
    try:
        call()
    except errors.SDKError as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        assert words in str(error), error
        return error
    raise AssertionError(f"{kind.__name__} did not come")


def the_life_of_an_environment(url):
    environments = client().environments()
    environment = environments.create(url, name="by the client")
    assert environment.proto().status.phase == environment_pb2.ENVIRONMENT_PHASE_RUNNING
    assert environment.proto().metadata.name == "by the client"
    ran = environment.run_command("cat README.md; echo there >&2; exit 3")
    assert (ran.exit_code, ran.stdout, ran.stderr) == (3, "hello\n", "there\n"), ran
    assert environment.run_command("pwd").stdout.strip() == environment.workspace_dir()

    id = environment.id()
    assert [found.id() for found in environments.list()] == [id]
    assert environments.get(id).proto().metadata.name == "by the client"
    environments.stop(id)
    assert environments.get(id).proto().status.phase == environment_pb2.ENVIRONMENT_PHASE_STOPPED
    assert environments.start(id).proto().status.phase == environment_pb2.ENVIRONMENT_PHASE_RUNNING
    environments.delete(id)
    while True:
        try:
            environments.get(id)
        except errors.NotFoundError:
            break
        time.sleep(0.02)
    assert list(environments.list()) == []


def an_environment_from_git(url):
    environments = client().environments()
    environment = environments.create_from_git(url, "side", checkout_location="elsewhere")
    ran = environment.run_command("git branch --show-current; pwd")
    assert ran.stdout == "side\n/workspace/elsewhere\n", ran
    environments.delete(environment.id())


def an_environment_that_fails(url):
    """The client says why, in the server's words."""
    try:
        client().environments().create(url)
    except errors.SDKError as error:
        assert "no such repository" in str(error).lower() or "not found" in str(error).lower(), error
        return
    raise AssertionError("it was created")


def identity_and_tokens():
    services = client().services
    who = services.identity.get_authenticated_identity(identity_pb2.GetAuthenticatedIdentityRequest())
    assert who.subject.principal == identity_pb2.PRINCIPAL_USER, who
    user = services.user.get_authenticated_user(user_pb2.GetAuthenticatedUserRequest()).user
    assert user.id == who.subject.id
    made = services.user.create_personal_access_token(
        user_pb2.CreatePersonalAccessTokenRequest(user_id=user.id, description="made by the client")
    )
    assert made.token.startswith("gitpod_pat_")
    other = create_client(api_key=made.token, base_url=os.environ["BASE_URL"])
    again = other.services.identity.get_authenticated_identity(identity_pb2.GetAuthenticatedIdentityRequest())
    assert again.subject.id == user.id

    # Every page, each token once.
    listed, page_token = [], ""
    while True:
        page = services.user.list_personal_access_tokens(
            user_pb2.ListPersonalAccessTokensRequest(
                pagination=pagination_pb2.PaginationRequest(page_size=1, token=page_token)
            )
        )
        listed += [token.description for token in page.personal_access_tokens]
        page_token = page.pagination.next_token
        if not page_token:
            break
    assert sorted(listed) == ["made by the client", "test"], listed

    id = next(
        token.id
        for token in services.user.list_personal_access_tokens(
            user_pb2.ListPersonalAccessTokensRequest()
        ).personal_access_tokens
        if token.description == "made by the client"
    )
    services.user.delete_personal_access_token(user_pb2.DeletePersonalAccessTokenRequest(personal_access_token_id=id))
    refused(errors.AuthenticationRequiredError, lambda: list(other.environments().list()), "revoked")


def whoami(id):
    who = client().services.identity.get_authenticated_identity(identity_pb2.GetAuthenticatedIdentityRequest())
    assert who.subject.id == id, who


def refused_as_revoked():
    refused(errors.AuthenticationRequiredError, lambda: list(client().environments().list()), "revoked")


def errors_are_the_clients_own(read_only):
    environments = client().environments()
    nowhere = "00000000-0000-7000-8000-000000000000"
    refused(errors.NotFoundError, lambda: environments.get(nowhere), nowhere)
    refused(errors.ValidationError, lambda: environments.get("x"), "environment_id")
    refused(errors.ValidationError, lambda: environments.create("ftp://example.com/a"))
    stranger = create_client(api_key="gitpod_pat_x", base_url=os.environ["BASE_URL"]).environments()
    refused(errors.AuthenticationRequiredError, lambda: stranger.get(nowhere), "valid token")
    reader = create_client(api_key=read_only, base_url=os.environ["BASE_URL"]).environments()
    refused(errors.PermissionDeniedError, lambda: reader.delete(nowhere), "read-only")
    services = client().services
    refused(
        errors.CapabilityUnavailableError,
        lambda: client()._unary(
            services.environment.create_environment_from_project,
            environment_pb2.CreateEnvironmentFromProjectRequest(project_id=nowhere),
            "x",
        ),
    )


def a_deadline_ends_a_watch():
    """The client's own time-out travels as Connect-Timeout-Ms; it knows the answer as its own exception."""
    watching = client()
    request = event_pb2.WatchEventsRequest(organization=True)
    refused(
        errors.DeadlineExceededError,
        lambda: list(watching._server_stream(watching.services.event.watch_events, request, "watch", 0.5)),
    )


def events_come_as_they_happen(watching, created, deleted):
    """As they happen. The files tell how far the client has come."""
    here = client()
    # What is named is told of at once, so that it is known that the stream has begun.
    nowhere = "00000000-0000-7000-8000-000000000000"
    filters = [{"resource_ids": [nowhere]}, {}]
    request = event_pb2.WatchEventsRequest(organization=True, resource_type_filters=filters)

    def watch():
        operations = []
        for event in here._server_stream(here.services.event.watch_events, request, "watch", 60):
            operations.append(event.operation)
            open([watching, created, deleted][len(operations) - 1], "w").close()
        raise AssertionError(f"it ended by itself: {operations}")

    refused(errors.AuthenticationRequiredError, watch, "revoked")
    assert os.path.exists(deleted)


def unavailable_is_not_tried_again():
    refused(errors.UnavailableError, lambda: list(client().environments().list()), "try again")


def whoever_goes_on_guessing_is_told_to_wait():
    guessing = create_client(api_key="gitpod_pat_x", base_url=os.environ["BASE_URL"])
    told = None
    while not isinstance(told, errors.RateLimitedError):
        try:
            list(guessing.environments().list())
        except (errors.AuthenticationRequiredError, errors.RateLimitedError) as error:
            told = error
    assert "come again later" in str(told), told
    # Somebody else at the same address notices nothing.
    assert list(client().environments().list()) == []


case = globals()[sys.argv[1]]
case(*sys.argv[2:])
print(f"{sys.argv[1]} ends well")
