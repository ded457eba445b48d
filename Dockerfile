# The detector as a service, on the CPU:
#   docker build -t dfutils .
#   docker run --rm --read-only --tmpfs /tmp:size=2g --memory 6g -p 127.0.0.1:7860:7860 dfutils
#
# It serves the detector that ships with the suite; another one with  -v "$PWD/runs/NAME/detector:/model:ro"  before the
# image's name and  --model /model  after it.
#
# One stage installs, the other carries what was installed and nothing else; nothing in it runs as root.
FROM python:3.12-slim AS build
RUN pip install --no-cache-dir uv && uv venv /opt/dfutils
COPY requirements.lock /src/
# Everything as it is pinned, but for PyTorch: its CPU build, in the versions of the lock, is 3 GB smaller.
RUN python - <<'EOF'
import re

pins = re.split(r"\n(?=[A-Za-z0-9])", open("/src/requirements.lock").read().strip())
own = [pin for pin in pins if re.match(r"(torch|torchvision)==", pin)]
left_out = r"(torch|torchvision|triton|jupyterlab|playwright|hypothesis|ruff)==|nvidia-|cuda-"
open("/src/serve.lock", "w").write("\n".join(pin for pin in pins if not re.match(left_out, pin)))
open("/src/torch.txt", "w").write("\n".join(re.match(r"[^ ;]+", pin)[0] for pin in own))
EOF
RUN uv pip install --python /opt/dfutils --no-cache --no-deps --require-hashes -r /src/serve.lock \
    && uv pip install --python /opt/dfutils --no-cache --torch-backend cpu -r /src/torch.txt
COPY pyproject.toml README.md LICENSE /src/
COPY dfutils /src/dfutils
RUN uv pip install --python /opt/dfutils --no-cache --no-deps /src

FROM python:3.12-slim
RUN useradd --create-home --uid 10001 dfutils
COPY --from=build /opt/dfutils /opt/dfutils
USER dfutils
WORKDIR /home/dfutils
ENV PATH=/opt/dfutils/bin:$PATH PYTHONUNBUFFERED=1 HF_HUB_DISABLE_TELEMETRY=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/health', timeout=4)"]
ENTRYPOINT ["dfutils", "serve", "--host", "0.0.0.0", "--port", "7860"]
