// Package ca is the cluster's own certificate authority: it makes the authority, issues certificates, says who a certificate belongs to,
// and builds the TLS configurations by which the parts of a cluster know each other.
//
// Everything speaks TLS 1.3 with ECDSA P-256 keys. Who somebody is stands in exactly one URI name of the certificate,
//
//	coloa://<cluster>/<role>/<id>
//
// and never in a host name, an address or a message. Between our own parts the peer's role and cluster are verified; host names are
// verified only by people's browsers and the CLI, for certificates of RoleAPI.
//
// What may live here: keys, certificates, their files and TLS configurations. What may not: sockets, Raft, HTTP, the decision who may have
// a certificate.
package ca
