"""Echo: launch a service in a process of its own, call it, and shut it down.

python samples/services/echo.py
"""

from mindtrace.services import RequestInvalidError
from mindtrace.services.samples.echo_service import EchoInput, EchoService


def main() -> None:
    """Launch, call in several ways, and look at an error."""
    with EchoService.launch(port=0) as echo:
        print(f"keywords: {echo.echo(message='Hello')}")
        print(f"a model:  {echo.echo(EchoInput(message='Hello again', delay=0.1))}")
        print(f"status:   {echo.status().status.value}")
        print(f"offers:   {', '.join(echo.endpoints().endpoints)}")
        try:
            echo.echo(message="too late", delay=-1, validate_input=False)
        except RequestInvalidError as error:
            print(f"refused:  {error.remote_message}")
        url = echo.url
    print(f"gone:     {EchoService.status_at_host(url).value}")


if __name__ == "__main__":
    main()
