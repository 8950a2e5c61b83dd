"""A gateway: two services at one address, and clients that go through it.

    python samples/services/gateway.py

The gateway passes on whatever comes to `/<app>/...`, also from programs that know nothing of these
clients. It remembers its apps when it is started again at the same address.
"""

from collections import Counter
from contextlib import ExitStack

import httpx
from pydantic import BaseModel

from mindtrace.core import get_free_port
from mindtrace.services import Gateway, Service, ServiceUnavailableError, endpoint
from mindtrace.services.samples.echo_service import EchoService


class Text(BaseModel):
    """What goes in."""

    text: str


class Words(BaseModel):
    """What comes out."""

    most_common: list[str]


class WordService(Service):
    """Knows something about texts."""

    @endpoint("/words", methods=["GET"])
    def words(self, payload: Text) -> Words:
        """Return the words of a text, the most common ones first."""
        counted = Counter(payload.text.lower().split())
        return Words(most_common=[word for word, _ in counted.most_common()])


def main() -> None:
    """Put two services behind a gateway, and call them there."""
    port = get_free_port()
    with ExitStack() as stack:
        echo = stack.enter_context(EchoService.launch(port=0))
        words = stack.enter_context(WordService.launch(port=0))

        with Gateway.launch(port=port) as gateway:
            gateway.register_app("echo", echo.url, echo)
            gateway.register_app("words", words.url, words)
            print(f"behind the gateway: {', '.join(gateway.registered_apps)}")

            # the clients that were registered, on their way through the gateway
            print(f"echo says: {gateway.echo.echo(message='hello').echoed}")
            print(f"most common: {gateway.words.words(text='to be or not to be').most_common[:2]}")

            # any other client
            answer = httpx.get(f"{gateway.url}words/words", params={"text": "a plain a request"})
            print(f"{answer.request.url.path} -> {answer.status_code} {answer.text}")

            echo.shutdown()
            answer = httpx.post(f"{gateway.url}echo/echo", json={"message": "anybody there?"})
            print(f"{answer.request.url.path} -> {answer.status_code}")
            print(f"  {answer.json()['error']['message']}")
            try:
                gateway.echo.echo(message="anybody there?")
            except ServiceUnavailableError as error:
                print(f"  {type(error).__name__}")

            gateway.unregister_app("echo")

        with Gateway.launch(port=port) as gateway:
            print(f"after a restart: {', '.join(gateway.list_apps())}")
            gateway.unregister_app("words")


if __name__ == "__main__":
    main()
