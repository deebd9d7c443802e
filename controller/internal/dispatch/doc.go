// Package dispatch is the controllers' side of the host protocol (api/hostv1): it registers hosts, hands each its complete desired set, and takes their reports.
// It decides nothing about VMs. Who a host is comes from its certificate alone. DESIGN.md tells what late, repeated and foreign messages do.
package dispatch
