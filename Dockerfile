# One image for every role; the target `libvirt` adds what an agent needs to drive libvirt.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/starling
COPY pyproject.toml constraints.txt ./
# The libraries first: they change less often than the program.
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > libraries \
    && /opt/starling/bin/pip install --no-cache-dir --constraint constraints.txt --requirement libraries
COPY . .
RUN /opt/starling/bin/pip install --no-cache-dir --constraint constraints.txt . \
    && cp tools/compose-setup tools/healthy /opt/starling/

FROM build AS build-libvirt
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc libc6-dev libvirt-dev pkg-config \
    && /opt/starling/bin/pip install --no-cache-dir "libvirt-python==$(pkg-config --modversion libvirt)"

FROM python:3.11-slim-bookworm AS program
ENV PATH=/opt/starling/bin:$PATH PYTHONUNBUFFERED=1
# A named volume takes its owner from the folder it is first mounted over.
RUN useradd --uid 10001 --create-home starling \
    && mkdir -p /etc/starling/gateway /etc/starling/worker /etc/starling/scheduler /var/lib/starling/cloud \
        /var/lib/starling/images /var/lib/starling/hosts/host-1 /var/lib/starling/hosts/host-2 \
        /var/lib/starling/hosts/host-libvirt \
    && chown -R starling /etc/starling /var/lib/starling
USER starling
WORKDIR /var/lib/starling
EXPOSE 8774 9100
CMD ["starling", "--help"]

FROM program AS libvirt
USER root
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libvirt0 qemu-utils \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build-libvirt /opt/starling /opt/starling

FROM program AS starling
COPY --from=build /opt/starling /opt/starling
