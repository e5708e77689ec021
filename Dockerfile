# An image with the commands, for a CPU or for CUDA:
#   docker build --target cpu -t bagoftricks:cpu .
#   docker build --target cuda -t bagoftricks:cuda .
#   docker run --rm --shm-size=2g -v "$PWD:/work" bagoftricks:cpu bot-train +refine=mixup
#   docker run --rm --shm-size=2g --gpus all -v "$PWD:/work" bagoftricks:cuda bot-train +refine=mixup
# Where the folder is not of user 1000, add --user "$(id -u):$(id -g)".
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS wheel
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim AS base
ENV PYTHONUNBUFFERED=1
RUN useradd --create-home --uid 1000 bot && mkdir /work && chown bot /work
WORKDIR /work
COPY constraints.txt /opt/constraints.txt
COPY --from=wheel /wheels /opt/wheels

# PyTorch for CPUs alone is an order of magnitude smaller.
FROM base AS cpu
RUN pip install --no-cache-dir --constraint /opt/constraints.txt \
    --extra-index-url https://download.pytorch.org/whl/cpu "$(echo /opt/wheels/*.whl)[jpeg,plots]"
USER 1000
CMD ["bagoftricks"]

# PyTorch of the Python Package Index brings CUDA's libraries; the host has the driver and the NVIDIA container toolkit.
FROM base AS cuda
RUN pip install --no-cache-dir --constraint /opt/constraints.txt "$(echo /opt/wheels/*.whl)[jpeg,plots]"
USER 1000
CMD ["bagoftricks"]
