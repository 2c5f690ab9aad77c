# How to check and renew the digest: docs/hardening.md.
ARG PYTHON_IMAGE=python:3.13.15-slim-trixie@sha256:9d2e5553305c7c7b0097999bb17187c69b921ccd6bc9d40e4bb5ebe652c00285
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY requirements requirements
RUN python -m venv /opt/moiety \
    && /opt/moiety/bin/pip install --require-hashes --only-binary :all: -r requirements/server.txt \
    && pip install --require-hashes --only-binary :all: -r requirements/build.txt
COPY . .
WORKDIR /src/moiety
RUN hatchling build --target wheel --directory /dist
WORKDIR /src
RUN hatchling build --target wheel --directory /dist \
    && /opt/moiety/bin/pip install --no-deps /dist/*.whl \
    && cp docker/health.py /opt/moiety/

FROM ${PYTHON_IMAGE}
RUN useradd --system --uid 10001 --no-create-home moiety \
    && install --directory --owner=moiety /var/lib/moiety/bodies /var/lib/moiety/checkpoints
COPY --from=build /opt/moiety /opt/moiety
ENV PATH=/opt/moiety/bin:$PATH PYTHONUNBUFFERED=1 MOIETY_LISTEN=0.0.0.0:50051 MOIETY_HTTP_LISTEN=0.0.0.0:8080
USER 10001
EXPOSE 50051 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "/opt/moiety/health.py"]
ENTRYPOINT ["moiety"]
CMD ["serve"]
