# Three stages: what runs, what builds the pages' assets, and the image: the first without the second.

FROM python:3.11-slim-bookworm AS runtime
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/fleetseal
ENV PATH=/opt/fleetseal/bin:$PATH
COPY requirements.txt /tmp/requirements.txt
RUN pip install --no-compile -r /tmp/requirements.txt

FROM runtime AS build
WORKDIR /srv/fleetseal
COPY requirements-build.txt ./
RUN pip install --no-compile -r requirements-build.txt
COPY manage.py ./
COPY scep ./scep
COPY devices ./devices
COPY fleet ./fleet
# secrets that are drawn here stay in this stage
ENV FLEETSEAL_DATA_DIR=/build
RUN python -m fleet.assets \
 && pybabel --quiet compile --directory fleet/locale --domain django \
 && python manage.py collectstatic --no-input --verbosity 0 \
 && find fleet/locale -name '*.po' -delete

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="Fleetseal" \
      org.opencontainers.image.description="Certificates for a fleet of multi-function printers, over SCEP"
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin fleetseal
COPY --from=runtime /opt/fleetseal /opt/fleetseal
COPY --from=build /srv/fleetseal /srv/fleetseal
COPY --from=build /build/static /var/lib/fleetseal/static
ENV PATH=/opt/fleetseal/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=fleet.settings \
    FLEETSEAL_DATA_DIR=/var/lib/fleetseal \
    FLEETSEAL_LOG_FORMAT=json
WORKDIR /srv/fleetseal
# The user may not write the data folder: a container that is not given its secrets stops and says so,
# instead of drawing its own, which no other container could read the database with.
USER 10001
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-I", "fleet/healthcheck.py", "http://127.0.0.1:8000/healthz"]
CMD ["gunicorn", "fleet.wsgi", "--bind", "0.0.0.0:8000", "--workers", "2", "--worker-class", "gthread", "--threads", "8", "--worker-tmp-dir", "/dev/shm", "--no-control-socket"]
