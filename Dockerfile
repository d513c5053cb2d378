# The service of `crowdcount serve` on a CPU; docs/service.md has the commands that build and run it.
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE weights_index.json ./
COPY zoo_configs zoo_configs
COPY crowdcount crowdcount
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# without CUDA, which would be several GB
RUN pip install --index-url https://download.pytorch.org/whl/cpu torch torchvision
COPY --from=build /wheels /wheels
RUN pip install "$(ls /wheels/*.whl)[serve,heif]" \
    # opencv-python needs libraries of a desktop; the headless one is the same without windows
    && pip uninstall --yes opencv-python opencv-python-headless \
    && pip install opencv-python-headless \
    && rm -r /wheels
RUN useradd --create-home --uid 10001 crowdcount
USER 10001
WORKDIR /home/crowdcount
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["crowdcount", "serve", "--host", "0.0.0.0", "--port", "8000"]
