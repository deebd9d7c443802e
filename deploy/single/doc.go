// Package single only holds the end-to-end test of up and down, which are bash: a whole cloud on this machine, beside others, with the real
// libvirt and qemu.
package single
