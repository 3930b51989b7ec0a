"""gitpod-sdk 0.7.0, as a program of a user's uses it: plain JSON over HTTP/1.1."""

import os
import sys
import time
from contextlib import closing

import gitpod
import httpx


class Counting(httpx.HTTPTransport):
    """Counts what is sent, and keeps the answers."""

    def __init__(self):
        super().__init__()
        self.requests = []
        self.answers = []

    def handle_request(self, request):
        self.requests.append(request)
        self.answers.append(super().handle_request(request))
        return self.answers[-1]

    @property
    def last(self):
        return self.answers[-1]


def client(token=None, transport=None, **options):
    http_client = httpx.Client(transport=transport) if transport else None
    return gitpod.Gitpod(
        bearer_token=token or os.environ["TOKEN"],
        base_url=os.environ["BASE_URL"],
        http_client=http_client,
        **options,
    )


def refused(kind, call, words=""):
    try:
        call()
    except gitpod.APIStatusError as error:
        assert type(error) is kind, f"{type(error).__name__}: {error}"
        assert words in str(error), error
        return error
    raise AssertionError(f"{kind.__name__} did not come")


NOWHERE = "00000000-0000-7000-8000-000000000000"


def lists_end_and_have_everything_once(*environments):
    """Size and token of a page stand in the query alone."""
    here = client()
    who = here.identity.get_authenticated_identity()
    assert who.subject.principal == "PRINCIPAL_USER", who
    tokens = [token.id for token in here.users.pats.list(page_size=2)]
    assert len(tokens) == len(set(tokens)) == 5, tokens
    found = [environment.id for environment in here.environments.list(page_size=1)]
    assert sorted(found) == sorted(environments), found
    entries = [entry.id for entry in here.events.list(page_size=3)]
    assert len(entries) == len(set(entries)) >= 4, entries
    page = here.users.pats.list(page_size=4)
    assert len(page.personal_access_tokens) == 4
    # A token is shown, looked up and revoked.
    id = tokens[0]
    assert here.users.pats.get(personal_access_token_id=id).pat.id == id
    here.users.pats.delete(personal_access_token_id=id)
    assert len(list(here.users.pats.list(page_size=2))) == 4


def the_life_of_an_environment(url):
    here = client()
    classes = list(here.environments.classes.list(page_size=1))
    small = next(one for one in classes if one.display_name == "Small")
    made = here.environments.create(
        spec={
            "machine": {"class": small.id},
            "content": {"initializer": {"specs": [{"contextUrl": {"url": url}}]}},
            "desiredPhase": "ENVIRONMENT_PHASE_RUNNING",
        }
    ).environment
    until(here, made.id, "ENVIRONMENT_PHASE_RUNNING")
    assert here.environments.create_environment_token(environment_id=made.id).access_token
    here.environments.stop(environment_id=made.id)
    until(here, made.id, "ENVIRONMENT_PHASE_STOPPED")
    here.environments.start(environment_id=made.id)
    until(here, made.id, "ENVIRONMENT_PHASE_RUNNING")
    here.environments.delete(environment_id=made.id)
    with closing(here.events.watch(environment_id=made.id)) as events:
        for event in events:
            if event.operation == "RESOURCE_OPERATION_DELETE":
                break
    refused(gitpod.NotFoundError, lambda: here.environments.retrieve(environment_id=made.id), made.id)


def until(here, id, phase):
    """Waits as the SDK's own examples do: it watches, then looks at each event."""
    with closing(here.events.watch(environment_id=id)) as events:
        for event in events:
            assert event.resource_type == "RESOURCE_TYPE_ENVIRONMENT", event
            assert event.resource_id == id, event
            status = here.environments.retrieve(environment_id=id).environment.status
            assert not status.failure_message, status
            if status.phase == phase:
                return


def events_come_as_they_happen(watching, created, deleted):
    """One line of JSON each, as it happens. The files tell how far the client has come."""

    def there(file):
        open(file, "w").close()

    here = client()
    with here.events.with_streaming_response.watch(organization=True) as response:
        assert response.headers["content-type"] == "application/jsonl", response.headers
        events = response.parse()
        there(watching)
        event = next(events)
        assert event.operation == "RESOURCE_OPERATION_CREATE", event
        there(created)
        event = next(events)
        assert event.operation == "RESOURCE_OPERATION_DELETE", event
        there(deleted)
        # The token is revoked now. A stream that has begun can but break off: a line would be taken for an event.
        try:
            event = next(events)
        except httpx.RemoteProtocolError:
            return
        raise AssertionError(f"it goes on: {event}")


def errors_are_the_clients_own(read_only):
    here = client()
    refused(gitpod.NotFoundError, lambda: here.environments.retrieve(environment_id=NOWHERE), NOWHERE)
    refused(gitpod.BadRequestError, lambda: here.environments.retrieve(environment_id="x"), "environment_id")
    refused(gitpod.BadRequestError, lambda: list(here.environments.list(page_size=-1)), "page")
    stranger = client("gitpod_pat_x")
    refused(gitpod.AuthenticationError, lambda: stranger.identity.get_authenticated_identity(), "valid token")
    # Before the first event, an error is an error like any other.
    refused(gitpod.AuthenticationError, lambda: stranger.events.watch(organization=True), "valid token")
    reader = client(read_only)
    denied = refused(gitpod.PermissionDeniedError, lambda: reader.environments.delete(environment_id=NOWHERE))
    assert denied.body["code"] == "permission_denied", denied.body


def what_cannot_be_mended_is_asked_once():
    counting = Counting()
    here = client(transport=counting)
    refused(
        gitpod.InternalServerError,
        lambda: here.environments.create_from_project(project_id=NOWHERE),
    )
    assert len(counting.requests) == 1, "501 was tried again"
    assert counting.last.headers["x-should-retry"] == "false"


def whoever_goes_on_guessing_is_told_to_wait():
    counting = Counting()
    guessing = client("gitpod_pat_x", transport=counting)
    told = None
    while told is None:
        # It waits as long as it is told to, asks again, and hears what is wrong as before.
        refused(gitpod.AuthenticationError, lambda: guessing.identity.get_authenticated_identity(), "valid token")
        told = next((answer for answer in counting.answers if answer.status_code == 429), None)
    assert told.headers["retry-after"] == "1", told.headers
    assert "x-should-retry" not in told.headers, told.headers
    # Somebody else at the same address notices nothing.
    client(max_retries=0).identity.get_authenticated_identity()


def what_may_be_mended_is_asked_again():
    counting = Counting()
    here = client(transport=counting, max_retries=2)
    began = time.monotonic()
    refused(gitpod.InternalServerError, lambda: here.identity.get_authenticated_identity(), "try again")
    assert len(counting.requests) == 3, len(counting.requests)
    # It waits as long as it is told to.
    assert time.monotonic() - began >= 2


def a_call_that_takes_too_long(token_id):
    counting = Counting()
    here = client(transport=counting, max_retries=1, timeout=0.5)
    try:
        here.users.pats.delete(personal_access_token_id=token_id)
    except gitpod.APITimeoutError:
        assert len(counting.requests) == 2, "it asks again as often as it was told to"
        return
    raise AssertionError("it was revoked")


def what_is_mended_meanwhile(refused_once):
    class Looking(Counting):
        statuses = []

        def handle_request(self, request):
            response = super().handle_request(request)
            self.statuses.append(response.status_code)
            if response.status_code != 200:
                assert response.headers["retry-after"] == "1", response.headers
                open(refused_once, "w").close()
            return response

    looking = Looking()
    who = client(transport=looking, max_retries=20).identity.get_authenticated_identity()
    assert who.subject.principal == "PRINCIPAL_USER", who
    assert looking.statuses[0] == 503, looking.statuses


def a_time_out_is_the_clients_own():
    here = client(max_retries=0)
    try:
        for _ in here.events.watch(organization=True, timeout=0.5):
            raise AssertionError("there is nothing to tell")
    except (gitpod.APITimeoutError, httpx.ReadTimeout):
        return
    raise AssertionError("it ended by itself")


case = globals()[sys.argv[1]]
case(*sys.argv[2:])
print(f"{sys.argv[1]} ends well")
