#!/bin/sh
# The user-data of the first virtual machine: it runs inside the guest.
echo "Hello from the virtual machine $(hostname) (Linux $(uname -r), $(awk '/MemTotal/ { print int($2 / 1024) }' /proc/meminfo) MiB)"
