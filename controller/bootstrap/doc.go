// Package bootstrap makes the files of a new cloud on its first server: the authority, certificates, the configuration of controller and agent,
// and what the cloud begins with (controller.First). It also renews the certificates that it made.
//
// Everything is made in a folder beside the final one, which takes its place by one rename: there is a whole cloud or none. A run that was cut
// off leaves nothing that counts, and the next one finishes. A cloud that exists is never touched.
//
// What may live here: files. What may not: sockets, Raft, HTTP, printing. It is linked into the CLI, which has to start in milliseconds, so
// it imports only the authority, the API's types and YAML.
package bootstrap
