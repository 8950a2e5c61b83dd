# A manager or a node of a cluster; docker-compose.yml runs one manager and two nodes of it:
#   docker build -t mindtrace-cluster .
#   docker run mindtrace-cluster node --help
# For workers from Git:
#   docker build -t mindtrace-cluster \
#       --build-arg EXTRAS="redis rabbitmq minio git" --build-arg PROGRAMS=git .
# What your workers import beside it goes into an image of your own:
#   FROM mindtrace-cluster
#   USER root
#   RUN pip --python /opt/mindtrace install --no-cache-dir pillow
#   USER 10001

FROM python:3.12-slim AS build
RUN pip install --no-cache-dir "uv>=0.9,<1"
# The Python of the image, here and below; modules compiled once, not at each start.
ENV UV_PYTHON_DOWNLOADS=never \
    UV_PROJECT_ENVIRONMENT=/opt/mindtrace \
    UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy
WORKDIR /source
COPY pyproject.toml uv.lock ./
COPY packages packages
ARG EXTRAS="redis rabbitmq minio"
RUN --mount=type=cache,target=/root/.cache/uv \
    uv sync --frozen --no-dev --no-editable --package mindtrace-cluster \
        $(printf -- " --extra %s" $EXTRAS)

FROM python:3.12-slim
ARG PROGRAMS=""
RUN test -z "$PROGRAMS" || { apt-get update \
    && apt-get install --yes --no-install-recommends $PROGRAMS \
    && rm -rf /var/lib/apt/lists/*; }
# By number, so that an engine can tell that it is not root.
RUN useradd --uid 10001 --create-home --home-dir /var/lib/mindtrace mindtrace
COPY --from=build /opt/mindtrace /opt/mindtrace
ENV PATH=/opt/mindtrace/bin:$PATH \
    MINDTRACE_DIR_PATHS__ROOT=/var/lib/mindtrace/state
USER 10001
WORKDIR /var/lib/mindtrace
ENTRYPOINT ["mindtrace-cluster"]
CMD ["--help"]
