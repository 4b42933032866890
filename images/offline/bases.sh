#!/bin/sh
# Make the bases of the offline build with debootstrap: one as bare as Debian's slim image, and one
# for the builder stage, which also has this machine's certificates and wheels.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

debootstrap --variant=minbase bookworm "$work/base"
# As Debian's slim image does, without documentation and package lists.
rm -rf "$work/base/usr/share/doc" "$work/base/usr/share/man" "$work/base/usr/share/info" \
    "$work/base/usr/share/locale" "$work"/base/var/cache/apt/archives/*.deb \
    "$work"/base/var/lib/apt/lists/*
printf 'path-exclude=/usr/share/%s/*\n' doc man info locale > "$work/base/etc/dpkg/dpkg.cfg.d/docs"
tar -C "$work/base" -c . | docker import - tallystick/offline-base

mkdir -p "$work/base/opt/wheels"
cp "${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}" "$work/base/opt/certificates.pem"
if [ -d "${PIP_FIND_LINKS:-}" ]; then
    cp "$PIP_FIND_LINKS"/torch-*cpu* "$work/base/opt/wheels"
fi
tar -C "$work/base" -c . | docker import --change "ENV PIP_CERT=/opt/certificates.pem" \
    --change "ENV PIP_FIND_LINKS=/opt/wheels" - tallystick/offline-builder
