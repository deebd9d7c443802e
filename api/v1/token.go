package v1

import "time"

// Token lets its holder act as a user. Its text is shown once, when it is made; the state keeps a hash of it.
type Token struct {
	Meta
	Spec   TokenSpec   `json:"spec"`
	Hash   string      `json:"hash,omitempty"` // SHA-256 of the text, hexadecimal; never shown
	Status TokenStatus `json:"status"`
}

// TokenSpec is what the maker says of a token.
type TokenSpec struct {
	User      string     `json:"user,omitempty" doc:"Name or id of the user it acts as; the caller when left out"`
	ExpiresAt *time.Time `json:"expiresAt,omitempty" doc:"When it ends; 30 days from now when left out, at most 366 days from now"`
	OneTime   bool       `json:"oneTime,omitempty" doc:"Can only be exchanged once for another token (login)"`
}

// TokenStatus is what is known of a token.
type TokenStatus struct {
	UserID string `json:"userId" doc:"Id of the user it acts as"`
	Login  bool   `json:"login,omitempty" doc:"It was made by a login"`
}

func (*Token) ObjectKind() Kind { return KindToken }

// Validate implements Object.
func (o *Token) Validate() error {
	var c checker
	c.meta(&o.Meta, KindToken)
	if o.Spec.User != "" {
		c.userReference("spec.user", o.Spec.User)
	}
	if !digestHex.MatchString(o.Hash) {
		c.fail("hash", "must be a SHA-256 digest")
	}
	if o.Spec.ExpiresAt == nil {
		c.fail("spec.expiresAt", "must be given")
	}
	if !IsID(o.Status.UserID) {
		c.fail("status.userId", "must be a UUID")
	}
	return c.err()
}

// Expired says whether the token has ended at now.
func (o *Token) Expired(now time.Time) bool {
	return o.Spec.ExpiresAt == nil || !now.Before(*o.Spec.ExpiresAt)
}

// Clone copies the object.
func (o *Token) Clone() *Token {
	copied := *o
	copied.Meta = o.Meta.clone()
	copied.Spec.ExpiresAt = clonePointer(o.Spec.ExpiresAt)
	return &copied
}
