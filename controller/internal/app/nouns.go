package app

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/google/uuid"

	"github.com/coloa-cloud/coloa/api/httpapi"
	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/auth"
	"github.com/coloa-cloud/coloa/controller/internal/state"
)

// request is one change on its way through a noun's file.
type request struct {
	context.Context
	caller httpapi.Caller
	state  *state.Snapshot
	txn    *state.Txn
	board  *Board // to place on
	draft  httpapi.Draft
	meta   v1.Meta // of what is created
	actor  string
}

// change of a noun: it fills in the entry and returns the id of the operation, if there is one.
type (
	creator  func(r *request) (object v1.Object, operation string, err error)
	replacer func(r *request, old v1.Object) (operation string, err error)
	remover  func(r *request, old v1.Object) (operation string, err error)
)

// noun is what can be done with a kind, beyond reading.
type noun struct {
	create  creator
	replace replacer
	remove  remover
}

// nouns is the table of the kinds that can be changed through the API. To add a noun, write its file and add its line.
var nouns = map[v1.Kind]noun{
	v1.KindProject:        {createProject, replaceProject, removeProject},
	v1.KindUser:           {createUser, replaceUser, removeUser},
	v1.KindToken:          {nil, nil, removePlain},
	v1.KindFlavor:         {createFlavor, replaceFlavor, removePlain},
	v1.KindHost:           {nil, replaceHost, removeHost},
	v1.KindImage:          {createImage, replaceImage, removeImage},
	v1.KindPlacementGroup: {createGroup, replaceGroup, removePlain},
	v1.KindVM:             {createVM, replaceVM, removeVM},
	v1.KindVolume:         {createVolume, replaceVolume, removeVolume},
	v1.KindSnapshot:       {createSnapshot, replaceSnapshot, removeSnapshot},
}

func methodNotAllowed(kind v1.Kind) error {
	return v1.NewProblem(v1.CodeMethodNotAllowed, "a %s cannot be changed in this way", v1.WordsFor(kind))
}

func specOf[T any](draft httpapi.Draft) T {
	if spec, ok := draft.Spec.(*T); ok && spec != nil {
		return *spec
	}
	var zero T
	return zero
}

// Create implements httpapi.Nouns.
func (a *App) Create(ctx context.Context, caller httpapi.Caller, kind v1.Kind, draft httpapi.Draft, key httpapi.Key) (httpapi.Result, error) {
	create := nouns[kind].create
	if create == nil {
		return httpapi.Result{}, methodNotAllowed(kind)
	}
	definition, err := v1.Define(kind)
	if err != nil {
		return httpapi.Result{}, err
	}
	var result httpapi.Result
	var made v1.Object
	id := NewID()
	err = a.Placer.Decide(ctx, actorOf(caller), func(s *state.Snapshot, board *Board, txn *state.Txn) error {
		result, made = httpapi.Result{}, nil
		replay, receipt, err := receiptFor(s, caller, key, txn.Time)
		if err != nil {
			return err
		}
		if replay != nil {
			result, err = replayed(s, caller, replay)
			return err
		}
		r := &request{Context: ctx, caller: caller, state: s, txn: txn, board: board, draft: draft, actor: actorOf(caller)}
		r.meta = v1.Meta{ID: id, Name: draft.Name, Labels: draft.Labels}
		if definition.Scoped {
			project, err := findProject(s, caller, draft.Project)
			if err != nil {
				return err
			}
			if project.Deleting() {
				return v1.NewProblem(v1.CodeConflict, "the project is being deleted")
			}
			r.meta.Project = project.ID
		} else if draft.Project != "" {
			return v1.NewProblem(v1.CodeInvalid, "project: a %s belongs to no project", v1.WordsFor(kind)).WithField("project")
		}
		object, operation, err := create(r)
		if err != nil {
			return err
		}
		if err := object.Validate(); err != nil {
			return err
		}
		if receipt != nil {
			receipt.Object, receipt.Operation = v1.LinkTo(object), operation
			txn.Create(receipt, "")
		}
		txn.Operation = operation
		made, result.Operation = object, operation
		return nil
	})
	if err != nil {
		return httpapi.Result{}, err // whoever stopped waiting must not look: the decision may still be under way
	}
	if made == nil {
		return result, nil
	}
	s := a.Store.Snapshot()
	if stored := s.Get(kind, id); stored != nil {
		made = stored
	}
	result.Object = show(s, caller, made, true)
	return result, nil
}

// mayCreate checks the caller against what the object would be. A reader is told that the role does not allow it.
func (r *request) mayCreate(object v1.Object) error {
	if auth.Allowed(r.caller.User, auth.Write, object, r.state.Project) {
		return nil
	}
	return denied("create", object)
}

const receiptLife = 24 * time.Hour

// receiptFor looks for the receipt of an Idempotency-Key: the one that exists, or a new one to be written.
func receiptFor(s *state.Snapshot, caller httpapi.Caller, key httpapi.Key, now time.Time) (existing, fresh *v1.Receipt, err error) {
	if key.Key == "" {
		return nil, nil, nil
	}
	user := caller.User.ID
	if found := s.By(v1.KindReceipt, "key", state.ReceiptKey(user, key.Key)); len(found) > 0 {
		receipt := found[0].(*v1.Receipt)
		if receipt.Request != key.Request {
			return nil, nil, v1.NewProblem(v1.CodeKeyReused, "this Idempotency-Key was used for another request").WithField("Idempotency-Key").WithNext("Use a new key for a new request.")
		}
		return receipt, nil, nil
	}
	// The id follows from user and key: of two requests at once, one finds that it exists and is decided anew.
	sum := sha256.Sum256([]byte(state.ReceiptKey(user, key.Key)))
	id := uuid.NewSHA1(uuid.NameSpaceOID, sum[:]).String()
	receipt := &v1.Receipt{Meta: v1.Meta{ID: id, Name: "receipt"}, User: user, Key: key.Key, Request: key.Request, ExpiresAt: now.Add(receiptLife)}
	if err := receipt.Validate(); err != nil {
		return nil, nil, err
	}
	return nil, receipt, nil
}

func replayed(s *state.Snapshot, caller httpapi.Caller, receipt *v1.Receipt) (httpapi.Result, error) {
	result := httpapi.Result{Operation: receipt.Operation, Replayed: true}
	object := s.Get(receipt.Object.Kind, receipt.Object.ID)
	if object == nil || allowed(s, caller, auth.Read, object) != nil {
		return result, v1.NewProblem(v1.CodeNotFound, "what this request made is gone again").With("id", receipt.Object.ID).With("operation", receipt.Operation).
			WithNext("Look at the operation %s, or send a new request with a new Idempotency-Key.", receipt.Operation)
	}
	result.Object = show(s, caller, object, true)
	return result, nil
}

// Replace implements httpapi.Nouns.
func (a *App) Replace(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref, draft httpapi.Draft, version uint64) (httpapi.Result, error) {
	replace := nouns[ref.Kind].replace
	return a.alter(ctx, caller, ref, version, func(r *request, old v1.Object) (string, error) {
		if replace == nil {
			return "", methodNotAllowed(ref.Kind)
		}
		r.draft = draft
		if draft.Project != "" && old.ObjectMeta().Project != "" {
			project, err := findProject(r.state, caller, draft.Project)
			if err != nil {
				return "", err
			}
			if project.ID != old.ObjectMeta().Project {
				return "", immutable("project")
			}
		}
		if old.ObjectMeta().Deleting() {
			return "", v1.NewProblem(v1.CodeWrongState, "the %s %q is being deleted", v1.WordsFor(ref.Kind), old.ObjectMeta().Name)
		}
		return replace(r, old)
	})
}

// Delete implements httpapi.Nouns.
func (a *App) Delete(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref, version uint64) (httpapi.Result, error) {
	remove := nouns[ref.Kind].remove
	return a.alter(ctx, caller, ref, version, func(r *request, old v1.Object) (string, error) {
		if remove == nil {
			return "", methodNotAllowed(ref.Kind)
		}
		if old.ObjectMeta().Deleting() { // asked for already: the same answer again
			if open := r.state.OpenOperationOn(old.ObjectMeta().ID); open != nil {
				return open.ID, nil
			}
		}
		return remove(r, old)
	})
}

// alter changes an existing object.
func (a *App) alter(ctx context.Context, caller httpapi.Caller, ref httpapi.Ref, version uint64, change func(r *request, old v1.Object) (string, error)) (httpapi.Result, error) {
	var id, operation string
	err := a.Placer.Decide(ctx, actorOf(caller), func(s *state.Snapshot, board *Board, txn *state.Txn) error {
		object, err := find(s, caller, ref, auth.Write)
		if err != nil {
			return err
		}
		id = object.ObjectMeta().ID
		if version != 0 && version != object.ObjectMeta().Version {
			return v1.NewProblem(v1.CodeNotMatched, "it was changed by somebody else: it has version %d now", object.ObjectMeta().Version).WithField("If-Match").
				WithNext("Read it again, and repeat the change with the new version.")
		}
		r := &request{Context: ctx, caller: caller, state: s, txn: txn, board: board, actor: actorOf(caller)}
		operation, err = change(r, object)
		txn.Operation = operation
		return err
	})
	if err != nil {
		return httpapi.Result{}, err
	}
	s := a.Store.Snapshot()
	result := httpapi.Result{Operation: operation}
	if object := s.Get(ref.Kind, id); object != nil {
		result.Object = show(s, caller, object, true)
	}
	return result, nil
}

func immutable(fields ...string) error {
	problem := v1.NewProblem(v1.CodeImmutable, "%s: cannot change", fields[0]).WithField(fields[0]).WithNext("Make a new one, or send the field as it is.")
	for _, field := range fields {
		problem.Errors = append(problem.Errors, v1.FieldError{Field: field, Detail: "cannot change"})
	}
	return problem
}

// frozen gathers the fields that a draft changes although they cannot change.
type frozen []string

func (f *frozen) check(field string, same bool) {
	if !same {
		*f = append(*f, field)
	}
}

func (f frozen) err() error {
	if len(f) == 0 {
		return nil
	}
	return immutable(f...)
}

// applyMeta takes over the writable part of Meta.
func applyMeta(meta *v1.Meta, draft httpapi.Draft) {
	if draft.Name != "" {
		meta.Name = draft.Name
	}
	meta.Labels = draft.Labels
}

// busy refuses when another operation works on an object.
func busy(s *state.Snapshot, objects ...v1.Object) error {
	for _, object := range objects {
		meta := object.ObjectMeta()
		open := s.OpenOperationOn(meta.ID)
		if open == nil {
			// A volume or VM may be locked by an operation whose target is another object.
			var id string
			switch o := object.(type) {
			case *v1.Volume:
				id = o.Status.Operation
			case *v1.VM:
				id = o.Status.Operation
			}
			if other := s.Operation(id); other != nil && !other.Status.State.Finished() {
				open = other
			}
		}
		if open != nil {
			return v1.NewProblem(v1.CodeBusy, "the operation %s (%s) works on the %s %q", open.ID, open.Spec.Type, v1.WordsFor(object.ObjectKind()), meta.Name).
				With("operation", open.ID).With("type", open.Spec.Type).WithNext("Wait until it is finished, or cancel it.")
		}
	}
	return nil
}

func removePlain(r *request, old v1.Object) (string, error) {
	r.txn.Delete(old, "")
	return "", nil
}
