# llmft on a CPU: the embedded model, the shipped runs, and training of small models. Port 7860.
FROM python:3.12-slim
RUN useradd -m -u 1000 user
USER user
ENV HOME=/home/user PATH=/home/user/.local/bin:$PATH HF_HOME=/home/user/.cache/huggingface \
    GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=7860 GRADIO_ANALYTICS_ENABLED=False OMP_WAIT_POLICY=PASSIVE
WORKDIR $HOME/app
COPY --chown=user requirements.txt .
# torch's ordinary Linux build brings CUDA: gigabytes that a CPU has no use for. PyTorch's install page names an index of
# CPU builds: give its address with --build-arg TORCH_INDEX=ADDRESS (on a Space: a variable of that name). pip then takes
# 2.x.y+cpu, which sorts above the plain 2.x.y, and the next line keeps it. Without it the image works, and is large.
# Tried with pip on Python 3.11 against an index of our own that holds the CPU build; the image itself was not built.
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} "$(grep -o '^torch==[0-9.]*' requirements.txt)"
RUN pip install --no-cache-dir -r requirements.txt
COPY --chown=user . .
EXPOSE 7860
CMD ["python", "app.py"]
