# One image for every service: api, worker, crm and migrate differ in their command only.
FROM python:3.13.7-slim-bookworm AS build
WORKDIR /app
RUN python -m venv /venv && python -m venv /build
COPY requirements.txt requirements-build.txt ./
RUN /venv/bin/pip install --no-cache-dir --compile --no-deps --require-hashes -r requirements.txt \
    && /build/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements-build.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY crm crm
# Built with packages that the image does not need when it runs.
RUN /build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /venv/bin/pip install --no-cache-dir --compile --no-deps /wheels/*.whl

FROM python:3.13.7-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data --create-home convene
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 CONVENE_DATA=/data
WORKDIR /data
# A number: Kubernetes (runAsNonRoot) refuses a name, since it cannot tell whether that is root.
USER 10001
EXPOSE 5000 5001
CMD ["convene", "api", "--host", "0.0.0.0"]
