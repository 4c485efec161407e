# The image of every role: worker, relay, exporter, jobs and commands. How to use it: docs/how-to/run-in-containers.md.
# It is for linux/amd64: faust-streaming has no wheels for other machines.
ARG PYTHON_IMAGE=python:3.13-slim-trixie

FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1
WORKDIR /build
COPY requirements/build.txt requirements/image.txt requirements/
RUN python -m venv tools && tools/bin/python -m pip install --quiet --require-hashes --only-binary :all: -r requirements/build.txt
# Every file is checked against the hashes of the lock. jieba has no wheel; the locked setuptools builds it.
RUN tools/bin/python -m pip wheel --quiet --require-hashes --only-binary :all: --no-binary jieba --no-build-isolation --wheel-dir wheels -r requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY schemas schemas
COPY streams streams
RUN tools/bin/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels .
# The environment gets the wheels, but neither pip nor what built them.
RUN python -m venv --without-pip /opt/streams && tools/bin/python -m pip --python /opt/streams/bin/python install --quiet --no-index --no-deps wheels/*.whl

FROM ${PYTHON_IMAGE}
# The base image's own pip is of no use in an image that nobody changes.
RUN python -m pip uninstall --quiet --yes --root-user-action ignore pip && rm -rf /usr/local/lib/python3.*/ensurepip
COPY --from=build /opt/streams /opt/streams
COPY deploy/image/entrypoint /usr/local/bin/entrypoint
COPY deploy/image/health.py /opt/streams/health.py
# A new volume that is mounted here takes over the owner. Only this folder and /tmp are written to.
RUN mkdir -p /var/lib/streams/storage && chown 10001:10001 /var/lib/streams/storage
ENV PATH=/opt/streams/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
ENV HOME=/tmp TMPDIR=/tmp STREAMS_STORAGE_URL=file:/var/lib/streams/storage
# The same number as in deploy/helm/event-streams/values.yaml. It needs no name.
USER 10001:10001
# Faust makes a folder of its own in the working directory.
WORKDIR /tmp
ENTRYPOINT ["/usr/local/bin/entrypoint"]
CMD ["streams", "--help"]
# Five minutes for the start of a worker, which loads the models and joins the group. Kubernetes has its own probes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --start-interval=2s --retries=6 CMD ["python", "/opt/streams/health.py"]
