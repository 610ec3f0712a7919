# The backend: one image for both roles (web by default; `python -m backend reconcile`).
ARG BASE_IMAGE=python:3.11-slim-bookworm

FROM ${BASE_IMAGE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /build
COPY requirements.lock ./
# Only wheels of exact versions with hashes: no dependency is resolved or compiled here.
RUN python -m venv --without-pip /venv \
    && pip --python /venv/bin/python install --no-cache-dir --no-compile --no-deps --require-hashes --only-binary :all: -r requirements.lock \
    && pip --python /venv/bin/python check
COPY backend ./app/backend
COPY hello_flask ./app/hello_flask
COPY models ./app/backend/models
# Bytecode is compiled now because the root file system is read-only later. It is not checked against
# the modification time of its source. The user of the container owns none of it.
# Of the models, only their entries in the catalogue belong into this image.
RUN find app/backend/models -type f ! -name model.yaml -delete \
    && chmod -R u=rwX,go=rX app \
    && /venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /venv/lib app

FROM ${BASE_IMAGE}
# Remove installers (pip, apt) and every setuid or setgid program; only /tmp stays writable for all.
# Keep dpkg's list of packages: scanners and `make sbom` read it.
# Compile the standard library: the public Python image has no bytecode of it, and every start would
# compile it again.
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --no-log-init --shell /usr/sbin/nologin app \
    && stdlib=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))') \
    && rm -rf "$stdlib/ensurepip" "$stdlib"/site-packages/* /usr/lib/python3/dist-packages/* /usr/share/python-wheels \
        /usr/bin/pip* /usr/local/bin/pip* /usr/local/bin/wheel /usr/bin/apt* /usr/lib/apt \
    && find / -xdev -type f -perm /6000 -delete \
    && find / -xdev -type d -perm -0002 ! -path /tmp -exec chmod o-w {} + \
    && python -m compileall -q -x 'test|idlelib|lib2to3|tkinter|turtledemo' "$stdlib"
COPY --from=build /venv /venv
COPY --from=build /build/app /app
WORKDIR /app
# One heap for all threads: Python executes one at a time, and heaps of their own would waste memory.
ENV MALLOC_ARENA_MAX=1 \
    PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    BIND=0.0.0.0:5000 \
    INPUT_DIR=/input \
    OUTPUT_DIR=/output
USER 10001:10001
EXPOSE 5000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s CMD ["python", "-c", "import http.client, os; connection = http.client.HTTPConnection('127.0.0.1', int(os.environ['BIND'].rpartition(':')[2]), timeout=4); connection.request('GET', '/healthz'); raise SystemExit(connection.getresponse().status != 200)"]
CMD ["python", "-m", "backend", "web"]
ARG VERSION=0
LABEL org.opencontainers.image.title="hello-flask" \
      org.opencontainers.image.description="A training backend for Kubernetes that fits in one pod" \
      org.opencontainers.image.version="${VERSION}"
