# syntax=docker/dockerfile:1
# One image for all three processes: `python -m gql` (the default), `python -m consumer`,
# `python -m taskql migrate`. docker-compose.yml shows their settings.

FROM node:24-slim AS web
WORKDIR /web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci
COPY web/ ./
RUN npm run build

FROM python:3.13-slim AS packages
RUN python -m venv /venv
COPY requirements/run.txt ./
RUN /venv/bin/pip install --no-cache-dir --require-hashes --only-binary=:all: -r run.txt

FROM python:3.13-slim
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /app
COPY --from=packages /venv /venv
COPY schema.graphql ./
COPY gql/ gql/
COPY consumer/ consumer/
COPY taskql/ taskql/
COPY --from=web /web/dist/ web/dist/
# A number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
CMD ["python", "-m", "gql"]
