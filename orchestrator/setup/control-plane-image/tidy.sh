#!/bin/sh
# Makes the root file system of the control plane's image small and safe: run once, while the image is
# built. Arguments: the packages that it does not need; the base may be the sandboxes', which has more.
set -eu

installed=$(dpkg-query -W -f '${Package}\n')
unneeded=$(for package in "$@"; do echo "$installed" | grep -Fx "$package" || true; done)
# By dpkg, because apt holds on to perl for usrmerge's sake, which has done its work.
[ -z "$unneeded" ] || dpkg --purge --force-depends $unneeded >/dev/null 2>&1

# Documentation, translations, package lists and caches.
rm -rf /usr/share/doc /usr/share/man /usr/share/info /usr/share/locale /usr/share/lintian \
  /usr/share/bash-completion /usr/share/bug /usr/share/i18n /usr/share/zsh \
  /var/lib/apt/lists /var/cache /var/log /var/backups /root/.cache

# The package manager cannot work under a read-only root. dpkg's status stays for scanners.
rm -rf /usr/bin/apt* /usr/lib/apt /etc/apt /var/lib/apt /usr/lib/*/libapt-* \
  /var/lib/dpkg/info /usr/share/keyrings /usr/share/python-wheels /usr/share/debconf

# Set-id programs and services: nobody signs in here, and nothing else is started.
rm -rf /etc/cron* /etc/init.d /etc/rc*.d /etc/systemd /lib/systemd /usr/lib/systemd /etc/pam.d
find / -xdev -type f -perm /6000 -exec chmod a-s {} +
find / -xdev \( -type f -o -type d \) -perm -0002 -exec chmod o-w,-t {} +

# The user, and what volumes are mounted on: a new volume has the owner of the directory it covers.
echo 'casemate:x:10808:10808:Casemate:/var/lib/casemate:/usr/sbin/nologin' >>/etc/passwd
echo 'casemate:x:10808:' >>/etc/group
mkdir -p /var/lib/casemate /run/casemate/broker /etc/casemate /opt/casemate /var/log /var/cache
chown 10808:10808 /var/lib/casemate
chmod 0700 /var/lib/casemate
chmod 1777 /tmp
rm -f /etc/machine-id
rm -rf /build
