package v1

import "time"

// Receipt remembers the answer to a request with an Idempotency-Key, in the same Txn as what the request made. Never shown.
type Receipt struct {
	Meta
	User      string    `json:"user"`
	Key       string    `json:"key"`
	Request   string    `json:"request"` // SHA-256 of method, path and body
	Object    Link      `json:"object"`
	Operation string    `json:"operation,omitempty"`
	ExpiresAt time.Time `json:"expiresAt"`
}

func (*Receipt) ObjectKind() Kind { return KindReceipt }

// Validate implements Object.
func (o *Receipt) Validate() error {
	var c checker
	if !idPattern.MatchString(o.ID) {
		c.fail("id", "must be a UUID")
	}
	if len(o.Key) == 0 || len(o.Key) > 255 || !isPlain(o.Key) {
		c.fail("Idempotency-Key", "must have from 1 to 255 characters of plain text")
	}
	return c.err()
}

// Clone copies the object.
func (o *Receipt) Clone() *Receipt { copied := *o; copied.Meta = o.Meta.clone(); return &copied }
