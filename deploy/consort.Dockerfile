# One image for the launcher, Beam's workers and the trainer, with the packages of requirements.lock.
#   docker build --file deploy/consort.Dockerfile --tag consort .
#   docker build --file deploy/consort.Dockerfile --build-arg BASE=nvidia/cuda:12.3.2-cudnn8-runtime-ubuntu22.04 \
#     --build-arg TENSORFLOW=--gpu --tag consort-gpu .
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
ARG TENSORFLOW=
ENV DEBIAN_FRONTEND=noninteractive
# g++: pyfarmhash comes as source.
RUN apt-get update && apt-get install --yes --no-install-recommends python3.11 python3.11-venv python3.11-dev g++
COPY requirements.lock pyproject.toml deploy/image_requirements.py /build/
RUN python3.11 -m venv /opt/venv \
  && python3.11 /build/image_requirements.py /build/requirements.lock /build/pyproject.toml ${TENSORFLOW} > /build/image.lock \
  && /opt/venv/bin/pip install --no-cache-dir --no-compile --no-deps --ignore-requires-python --require-hashes \
    --requirement /build/image.lock \
  && rm -rf /opt/venv/lib/python3.11/site-packages/tensorflow/include

FROM ${BASE}
ENV DEBIAN_FRONTEND=noninteractive
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates python3.11 \
  && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/venv /opt/venv
# Starts the worker's Python for Dataflow, Flink and Spark; the version is that of apache-beam in the lock.
COPY --from=apache/beam_python3.11_sdk:2.67.0 /opt/apache/beam /opt/apache/beam
COPY . /opt/consort
ENV PATH=/opt/venv/bin:$PATH \
  PYTHONPATH=/opt/consort \
  PYTHONDONTWRITEBYTECODE=1 \
  TF_USE_LEGACY_KERAS=1 \
  TF_FORCE_GPU_ALLOW_GROWTH=true \
  TF_CPP_MIN_LOG_LEVEL=2
# The image is not made if a worker could not import what it is sent.
RUN python -m tfx_pipeline.entry_points
WORKDIR /opt/consort
ENTRYPOINT ["/opt/apache/beam/boot"]
