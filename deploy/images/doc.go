// Package images holds the recipes of the guest images tiny and debian-12 (bash, see README.md) and, in Go, only their tests:
// each image is booted by a real qemu and has to obey its NoCloud seed. No code that runs in Coloa's programs may live here.
package images
