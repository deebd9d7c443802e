package v1

// User is a person or a program that may ask for things.
type User struct {
	Meta
	Spec UserSpec `json:"spec"`
	// Secret is never shown; it is replicated, and left out of every answer.
	Secret UserSecret `json:"secret,omitzero"`
	Status UserStatus `json:"status"`
}

// UserSpec is what administrators say of a user.
type UserSpec struct {
	Title        string `json:"title,omitempty" doc:"Full name" maxLength:"1024"`
	Email        string `json:"email,omitempty" doc:"E-mail address" maxLength:"254"`
	Disabled     bool   `json:"disabled,omitempty" doc:"May not log in; all tokens are refused"`
	PlatformRole Role   `json:"platformRole,omitempty" doc:"Role on the whole platform" enum:"platform-admin,reader"`
}

// UserSecret holds what proves who the user is.
type UserSecret struct {
	PasswordHash string `json:"passwordHash,omitempty"` // argon2id, in PHC form; "" allows no password
}

// UserStatus is what is known of a user.
type UserStatus struct {
	HasPassword bool `json:"hasPassword" doc:"Can log in with a password (computed)"`
}

func (*User) ObjectKind() Kind { return KindUser }

// Validate implements Object.
func (o *User) Validate() error {
	var c checker
	c.meta(&Meta{ID: o.ID, Name: "user", Project: o.Project, Labels: o.Labels}, KindUser)
	c.userName("name", o.Name)
	c.text("spec.title", o.Spec.Title)
	c.text("spec.email", o.Spec.Email)
	if o.Spec.PlatformRole != "" {
		oneOf(&c, "spec.platformRole", o.Spec.PlatformRole, RolePlatformAdmin, RoleReader)
	}
	return c.err()
}

// userName allows what e-mail addresses and directories use: a wider alphabet than other names.
func (c *checker) userName(field, text string) {
	if text == "" {
		c.fail(field, "must be given")
	} else if len(text) > MaxNameLength || !userPattern.MatchString(text) {
		c.fail(field, "may hold lower-case letters a-z, digits and the characters . _ @ -, begins and ends with a letter or digit, and has at most %d characters", MaxNameLength)
	}
}

func (c *checker) userReference(field, text string) {
	if !IsID(text) {
		c.userName(field, text)
	}
}

// CheckPassword returns a problem when text may not be a password. Length alone is asked for; everything else makes passwords worse.
func CheckPassword(text string) error {
	var c checker
	if len(text) < 12 || len(text) > 256 {
		c.fail("password", "must have from 12 to 256 characters")
	}
	return c.err()
}

// Clone copies the object.
func (o *User) Clone() *User { copied := *o; copied.Meta = o.Meta.clone(); return &copied }
