package httpapi

import (
	"context"
	"net/http"
	"net/netip"

	"github.com/gin-gonic/gin"
)

// Headers that controllers set for one another when they forward. From clients they are dropped.
const (
	// HeaderClientAddress is the address that the request came from, where it entered the cloud.
	HeaderClientAddress = "Coloa-Client-Address"
	// HeaderRequestID names the request in the logs of every controller that handled it; it is also told to the client.
	HeaderRequestID = "Coloa-Request-Id"
)

// request is what this package knows of the request that it handles.
type request struct {
	gin       *gin.Context
	id        string
	address   netip.Addr // of the client, where it entered the cloud; may be invalid (unix sockets, tests)
	peer      bool       // came from another controller
	route     *route     // nil when there is none
	secret    string     // text of the token
	caller    Caller
	forwarded bool
	raw       []byte   // the JSON body
	reference string   // of the internal error that it ended in
	release   []func() // runs when it is over
}

// changes says whether the request's method may change anything.
func (r *request) changes() bool { return !safe(r.gin.Request.Method) }

func safe(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return true
	}
	return false
}

type contextKey int

const (
	requestKey contextKey = iota
	peerKey
)

func requestOf(ctx context.Context) *request {
	found, _ := ctx.Value(requestKey).(*request)
	return found
}

func requestID(ctx context.Context) string {
	if found := requestOf(ctx); found != nil {
		return found.id
	}
	return ""
}

// RequestID is the request's name in the logs, for log lines of the service. "" outside of a request.
func RequestID(ctx context.Context) string { return requestID(ctx) }

// ClientAddress is the address that the request came from, where it entered the cloud. It is the zero Addr when unknown.
func ClientAddress(ctx context.Context) netip.Addr {
	if found := requestOf(ctx); found != nil {
		return found.address
	}
	return netip.Addr{}
}

// PeerHandler wraps the handler for the channel between controllers (mutual TLS, checked by the caller): requests that come through it were
// limited where they entered, carry the client's address in HeaderClientAddress, and are never forwarded again.
func PeerHandler(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), peerKey, true)))
	})
}

func fromPeer(ctx context.Context) bool {
	peer, _ := ctx.Value(peerKey).(bool)
	return peer
}

// addressOf reads the address of http.Request.RemoteAddr.
func addressOf(remote string) netip.Addr {
	if port, err := netip.ParseAddrPort(remote); err == nil {
		return port.Addr().Unmap().WithZone("")
	}
	address, err := netip.ParseAddr(remote)
	if err != nil {
		return netip.Addr{}
	}
	return address.Unmap().WithZone("")
}

// limitKey is what counts as one address: a single IPv4 address, or the /64 that one IPv6 subscriber has.
func limitKey(address netip.Addr) string {
	if address.Is6() {
		if prefix, err := address.Prefix(64); err == nil {
			return prefix.String()
		}
	}
	return address.String()
}
