# Weir with its hot path compiled (docs/decisions/0016). The compiler stays in the first stage.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml hatch_build.py requirements-dev.txt README.md LICENSE ./
COPY proxy proxy
# Weir's wheel, and one of everything that it needs, in the versions that are tested
RUN WEIR_COMPILE=1 PIP_CONSTRAINT=requirements-dev.txt pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.11-slim
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels weir-proxy && useradd --system weir
USER weir
WORKDIR /etc/weir
HEALTHCHECK --interval=10s --timeout=3s CMD ["weir", "healthcheck"]
ENTRYPOINT ["weir"]
CMD ["run", "-c", "/etc/weir/proxy.yaml"]
