// Package hostservices holds no Go code but its tests: its script ensure-libvirtd starts what a host needs from its distribution before our own
// services can run. With systemd that is asking for units; without it (containers, build machines) the script keeps the daemons itself.
package hostservices
