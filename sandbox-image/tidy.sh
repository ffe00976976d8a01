#!/bin/sh
# Makes the root file system of the sandbox small and safe: run once, while the image is built.
set -eu

[ -z "$(ls /usr/local/share/ca-certificates/casemate)" ] || update-ca-certificates >/dev/null

# Documentation, translations, package lists and caches: nothing in a sandbox reads them.
rm -rf /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian \
  /usr/share/bash-completion /usr/share/bug /usr/share/i18n /usr/share/zsh \
  /var/lib/apt/lists /var/cache /var/log /var/backups /root/.cache

# The package manager cannot work under a read-only root. dpkg's status stays for scanners.
rm -rf /usr/bin/apt* /usr/lib/apt /etc/apt /var/lib/apt /usr/lib/*/libapt-* \
  /var/lib/dpkg/info /usr/share/keyrings /usr/share/python-wheels /usr/share/debconf

# Perl's full library came with git's mail commands; perl-base, which scripts use, stays.
rm -rf /usr/share/perl /usr/lib/*/perl /usr/share/perl5 /usr/bin/perl5.*

# Accounts' set-id programs and services: a sandbox has one user and starts nothing.
rm -rf /etc/cron* /etc/init.d /etc/rc*.d /etc/systemd /lib/systemd /usr/lib/systemd /etc/pam.d
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
find / -xdev \( -type f -o -type d \) -perm -0002 -exec chmod o-w,-t {} +

# Bytecode that is never compared with its source, for the same reason as the shim's.
python3 -m compileall -q -f --invalidation-mode unchecked-hash /usr/lib/python3* || true

# Mount points. Docker gives a tmpfs the mode of the directory that it covers.
mkdir -p /workspace /home/agent /run/agent /opt/casemate/lib/code /var/log /var/cache
chmod 0700 /workspace /home/agent
chmod 1777 /tmp
rm -f /etc/machine-id
rm -rf /build
