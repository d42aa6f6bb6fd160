# One image for every service: api, worker, crm and migrate differ in their command only.
FROM python:3.13-slim AS build
WORKDIR /app
RUN python -m venv /venv
COPY requirements.txt ./
RUN /venv/bin/pip install --no-cache-dir --compile --no-deps --require-hashes -r requirements.txt
COPY pyproject.toml README.md ./
COPY src src
COPY crm crm
RUN /venv/bin/pip install --no-cache-dir --compile --no-deps --no-build-isolation .

FROM python:3.13-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home convene
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 CONVENE_DATA=/data
WORKDIR /data
USER convene
EXPOSE 5000 5001
CMD ["convene", "api", "--host", "0.0.0.0"]
