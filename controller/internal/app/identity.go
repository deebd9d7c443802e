package app

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// Lives of tokens.
const (
	sessionLife  = 30 * 24 * time.Hour // of a token that a login makes, or that says nothing else
	longestLife  = 366 * 24 * time.Hour
	maxUserToken = 1000 // tokens of one user
)

// authCache bounds how many password checks run at once: each takes 64 MiB.
type authCache struct {
	once  sync.Once
	slots chan struct{}
}

func unauthenticated() error {
	return v1.NewProblem(v1.CodeUnauthenticated, "the request carries no valid token").WithNext("Log in (coloa login), and send the token in the Authorization header.")
}

// Authenticate implements httpapi.Identities.
func (a *App) Authenticate(_ context.Context, secret string) (httpapi.Caller, error) {
	s := a.Store.Snapshot()
	token, user := tokenOf(s, secret, time.Now())
	if token == nil || token.Spec.OneTime {
		return httpapi.Caller{}, unauthenticated()
	}
	return httpapi.Caller{User: user, Token: token}, nil
}

// tokenOf finds a valid token with its user. It is looked up by its hash, so that comparing tells nothing of the text.
func tokenOf(s *state.Snapshot, secret string, now time.Time) (*v1.Token, *v1.User) {
	if len(secret) < 20 || len(secret) > 256 {
		return nil, nil
	}
	found := s.By(v1.KindToken, "hash", auth.HashSecret(secret))
	if len(found) == 0 {
		return nil, nil
	}
	token := found[0].(*v1.Token)
	user := s.User(token.Status.UserID)
	if user == nil || user.Spec.Disabled || token.Expired(now) {
		return nil, nil
	}
	return token, user
}

// Login implements httpapi.Identities. The answer and its time are the same for an unknown user and for a wrong password.
func (a *App) Login(ctx context.Context, request v1.LoginRequest) (v1.LoginResponse, error) {
	refused := v1.NewProblem(v1.CodeUnauthenticated, "the name, the password or the one-time token is not right").WithNext("Check them and try again.")
	secret := auth.NewSecret()
	expires := time.Now().UTC().Add(sessionLife)
	id := NewID()
	var user *v1.User
	switch {
	case request.Token != "" && request.User == "" && request.Password == "":
	case request.Token == "" && request.User != "":
		if err := a.checkPassword(ctx, request.User, request.Password); err != nil {
			if errors.Is(err, errWrongPassword) {
				return v1.LoginResponse{}, refused
			}
			return v1.LoginResponse{}, err
		}
	default:
		return v1.LoginResponse{}, v1.NewProblem(v1.CodeInvalid, "token: send either a one-time token, or user and password").WithField("token")
	}
	err := a.change(ctx, "login", func(s *state.Snapshot, txn *state.Txn) error {
		if request.Token != "" {
			var oneTime *v1.Token
			oneTime, user = tokenOf(s, request.Token, txn.Time)
			if oneTime == nil || !oneTime.Spec.OneTime {
				return refused
			}
			txn.Delete(oneTime, "used") // once
		} else if user = userByRef(s, request.User); user == nil || user.Spec.Disabled {
			return refused
		}
		txn.Actor = user.Name
		token := newToken(id, "login-"+v1.Short(id), user, secret, v1.TokenSpec{ExpiresAt: &expires})
		token.Status.Login = true
		txn.Create(token, "logged in")
		forgetOldestLogin(s, txn, user.ID)
		return nil
	})
	if err != nil {
		return v1.LoginResponse{}, err
	}
	return v1.LoginResponse{Secret: secret, ExpiresAt: expires, User: v1.LinkTo(user)}, nil
}

// maxLogins is how many logins of one user are kept.
const maxLogins = 100

func forgetOldestLogin(s *state.Snapshot, txn *state.Txn, user string) {
	logins := 0
	var oldest *v1.Token
	for _, object := range s.By(v1.KindToken, "user", user) {
		if token := object.(*v1.Token); token.Status.Login {
			logins++
			if oldest == nil {
				oldest = token // they are ordered by age
			}
		}
	}
	if logins >= maxLogins {
		txn.Delete(oldest, "too many logins")
	}
}

var errWrongPassword = v1.NewProblem(v1.CodeUnauthenticated, "wrong password")

func (a *App) checkPassword(ctx context.Context, name, password string) error {
	free, err := a.hashingPlace(ctx)
	if err != nil {
		return err
	}
	defer free()
	hash := ""
	user := userByRef(a.Store.Snapshot(), name)
	if user != nil {
		hash = user.Secret.PasswordHash
	}
	right, err := auth.CheckPassword(hash, password)
	if err != nil || !right || user == nil || user.Spec.Disabled {
		return errWrongPassword
	}
	return nil
}

// hashingPlace waits for a place to hash a password in; free gives it back.
func (a *App) hashingPlace(ctx context.Context) (free func(), err error) {
	a.cache.once.Do(func() { a.cache.slots = make(chan struct{}, 2) })
	select {
	case a.cache.slots <- struct{}{}:
		return func() { <-a.cache.slots }, nil
	case <-ctx.Done():
		return nil, v1.NewProblem(v1.CodeUnavailable, "too many people log in at the moment").WithNext("Try again shortly.")
	}
}

// firstPasswordWithin is how long after a login a user may choose a first password.
const firstPasswordWithin = 15 * time.Minute

// mayChooseFirst: a token that was made long ago, or by another token, must not become a password, which never ends. An administrator could make another account anyway.
func mayChooseFirst(caller httpapi.Caller, now time.Time) bool {
	return auth.Admin(caller.User) || caller.Token.Status.Login && now.Sub(caller.Token.CreatedAt) < firstPasswordWithin
}

func newToken(id, name string, user *v1.User, secret string, spec v1.TokenSpec) *v1.Token {
	return &v1.Token{Meta: v1.Meta{ID: id, Name: name}, Spec: spec, Hash: auth.HashSecret(secret), Status: v1.TokenStatus{UserID: user.ID}}
}

// Logout implements httpapi.Identities.
func (a *App) Logout(ctx context.Context, caller httpapi.Caller) error {
	return a.change(ctx, actorOf(caller), func(s *state.Snapshot, txn *state.Txn) error {
		if token := s.Get(v1.KindToken, caller.Token.ID); token != nil {
			txn.Delete(token, "logged out")
		}
		return nil
	})
}

// WhoAmI implements httpapi.Identities.
func (a *App) WhoAmI(_ context.Context, caller httpapi.Caller) (v1.Identity, error) {
	s := a.Store.Snapshot()
	identity := v1.Identity{User: v1.LinkTo(caller.User), PlatformRole: caller.User.Spec.PlatformRole, Token: v1.LinkTo(caller.Token), Projects: []v1.Access{}}
	if caller.Token.Spec.ExpiresAt != nil {
		identity.ExpiresAt = *caller.Token.Spec.ExpiresAt
	}
	for _, object := range s.By(v1.KindProject, "member", caller.User.ID) {
		project := object.(*v1.Project)
		identity.Projects = append(identity.Projects, v1.Access{Project: v1.LinkTo(project), Role: project.RoleOf(caller.User.ID)})
	}
	return identity, nil
}

// SetPassword implements httpapi.Identities.
func (a *App) SetPassword(ctx context.Context, caller httpapi.Caller, name string, request v1.PasswordRequest) error {
	s := a.Store.Snapshot()
	object, err := find(s, caller, httpapi.Ref{Kind: v1.KindUser, ID: name}, auth.Read)
	if err != nil {
		return err
	}
	user := object.(*v1.User)
	if user.ID != caller.User.ID && !auth.Admin(caller.User) {
		return denied(auth.Write, user)
	}
	if err := v1.CheckPassword(request.Password); err != nil {
		return err
	}
	if user.ID == caller.User.ID && user.Secret.PasswordHash == "" && !mayChooseFirst(caller, time.Now()) {
		return v1.NewProblem(v1.CodeDenied, "a first password is chosen right after a login, or given by an administrator").WithNext("Log in again, or ask a platform administrator.")
	}
	// Somebody with a stolen token must not be able to take the account over.
	if user.ID == caller.User.ID && user.Secret.PasswordHash != "" {
		if err := a.checkPassword(ctx, user.Name, request.Old); err != nil {
			if errors.Is(err, errWrongPassword) {
				return v1.NewProblem(v1.CodeDenied, "old: the present password is not right").WithField("old")
			}
			return err
		}
	}
	free, err := a.hashingPlace(ctx)
	if err != nil {
		return err
	}
	hash := auth.HashPassword(request.Password)
	free()
	return a.change(ctx, actorOf(caller), func(s *state.Snapshot, txn *state.Txn) error {
		found := s.User(user.ID)
		if found == nil {
			return notFound(v1.KindUser, name)
		}
		if found.Secret != user.Secret {
			return v1.NewProblem(v1.CodeConflict, "the password was changed by somebody else in the meantime").WithNext("Log in again.")
		}
		// Whoever changes a password wants others out.
		for _, object := range s.By(v1.KindToken, "user", user.ID) {
			if token := object.(*v1.Token); token.Status.Login && token.ID != caller.Token.ID {
				txn.Delete(token, "the password was changed")
			}
		}
		changed := found.Clone()
		changed.Secret.PasswordHash = hash
		txn.Update(changed, "password set")
		return nil
	})
}

// CreateToken implements httpapi.Identities. A token acts as its maker; platform administrators make tokens for others too.
func (a *App) CreateToken(ctx context.Context, caller httpapi.Caller, draft httpapi.Draft) (v1.NewToken, error) {
	spec := specOf[v1.TokenSpec](draft)
	if err := v1.CheckName(draft.Name); err != nil {
		return v1.NewToken{}, err
	}
	id, secret := NewID(), auth.NewSecret()
	err := a.change(ctx, actorOf(caller), func(s *state.Snapshot, txn *state.Txn) error {
		user := s.User(caller.User.ID)
		if spec.User != "" {
			user = userByRef(s, spec.User)
		}
		if user == nil || (user.ID != caller.User.ID && !auth.Admin(caller.User)) {
			return v1.NewProblem(v1.CodeInvalid, "spec.user: there is no user %q that you may make tokens for", spec.User).WithField("spec.user")
		}
		// A one-time token becomes a session of full length: whoever could make one for himself would make a short token a long one.
		if spec.OneTime && !auth.Admin(caller.User) {
			return v1.NewProblem(v1.CodeDenied, "spec.oneTime: only platform administrators make one-time tokens").WithField("spec.oneTime").WithNext("Leave it out, or ask the operators.")
		}
		filled := spec
		if filled.ExpiresAt == nil {
			expires := txn.Time.Add(sessionLife)
			filled.ExpiresAt = &expires
		}
		if life := filled.ExpiresAt.Sub(txn.Time); life <= 0 || life > longestLife {
			return v1.NewProblem(v1.CodeInvalid, "spec.expiresAt: must be in the future and at most 366 days from now").WithField("spec.expiresAt")
		}
		// A token cannot outlive the one that made it: a stolen short one must not become a long one.
		if !auth.Admin(caller.User) && caller.Token.Spec.ExpiresAt != nil && filled.ExpiresAt.After(*caller.Token.Spec.ExpiresAt) {
			filled.ExpiresAt = caller.Token.Spec.ExpiresAt
		}
		if len(s.By(v1.KindToken, "user", user.ID)) >= maxUserToken {
			return v1.NewProblem(v1.CodeQuota, "the user has %d tokens already", maxUserToken).WithNext("Delete those that are no longer needed.")
		}
		token := newToken(id, draft.Name, user, secret, filled)
		token.Labels = draft.Labels
		txn.Create(token, "")
		return nil
	})
	if err != nil {
		return v1.NewToken{}, err
	}
	stored, ok := a.Store.Snapshot().Get(v1.KindToken, id).(*v1.Token)
	if !ok {
		return v1.NewToken{}, v1.NewProblem(v1.CodeConflict, "the token was deleted at once by somebody else")
	}
	return v1.NewToken{Token: *stored.Show(v1.Related{}), Secret: secret}, nil
}
