package bootstrap

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	v1 "github.com/coloa-cloud/coloa/api/v1"
	"github.com/coloa-cloud/coloa/controller/internal/ca"
)

// TokenPrefix begins the text of a one-time token, so that one that leaked into a text can be found.
const TokenPrefix = "coloa1_"

// Result says what was made. Token is a secret: it is shown once and kept nowhere.
type Result struct {
	Cluster      string    `json:"cluster"` // id
	Name         string    `json:"name"`
	Host         string    `json:"host"` // id of this server
	Endpoint     string    `json:"endpoint"`
	CAFile       string    `json:"caFile"`
	Admin        string    `json:"admin"`
	Token        string    `json:"token"`
	TokenExpires time.Time `json:"tokenExpires"`
	// Renewed: the cloud was made by an earlier run and has not begun yet; only the token is new.
	Renewed bool     `json:"renewed,omitempty"`
	Files   []string `json:"files"` // that were written, sorted
}

// Init makes the files of a new cloud. When it was made before and its controller has never been started, it gives a new token and changes nothing
// else, because the former token may have been lost with the run that made it. When the cloud has begun, it is a problem with CodeConflict.
func Init(options Options) (Result, error) {
	options, err := options.withDefaults()
	if err != nil {
		return Result{}, err
	}
	parent := filepath.Dir(options.ConfigDir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return Result{}, fmt.Errorf("make the folder for the configuration: %w", err)
	}
	unlock, err := lock(parent)
	if err != nil {
		return Result{}, err
	}
	defer unlock()

	switch exists, err := configured(options.ConfigDir); {
	case err != nil:
		return Result{}, err
	case exists:
		return renewToken(options)
	}
	return create(options)
}

// Exists says whether there is a cloud in these folders.
func Exists(configDir string) bool {
	exists, err := configured(configDir)
	return err == nil && exists
}

// configured says whether the folder holds a cloud. A folder with anything else is refused: the rename would need it empty.
func configured(configDir string) (bool, error) {
	entries, err := os.ReadDir(configDir)
	switch {
	case errors.Is(err, fs.ErrNotExist), err == nil && len(entries) == 0:
		return false, nil
	case err != nil:
		return false, fmt.Errorf("look for a cloud on this server: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(configDir, ControllerFile)); err == nil {
		return true, nil
	}
	return false, v1.NewProblem(v1.CodeConflict, "the folder %s holds files (%s, ...) that are not a cloud's", configDir, entries[0].Name()).
		WithNext("Move them away and run the command again.")
}

func create(options Options) (Result, error) {
	stage := filepath.Join(filepath.Dir(options.ConfigDir), "."+filepath.Base(options.ConfigDir)+".new")
	// Left by a run that was cut off. Nobody has used what is in it.
	if err := os.RemoveAll(stage); err != nil {
		return Result{}, fmt.Errorf("remove what an interrupted run left: %w", err)
	}
	if err := os.Mkdir(stage, 0o700); err != nil {
		return Result{}, fmt.Errorf("make the configuration: %w", err)
	}
	result, err := fill(stage, options)
	if err == nil {
		err = put(stage, options)
	}
	if err != nil {
		_ = os.RemoveAll(stage)
		return Result{}, fmt.Errorf("make the configuration: %w", err)
	}
	return result, nil
}

// put gives the finished folder its name. Folders on the way to guests' disks can be passed through, and not listed, by qemu's user.
func put(stage string, options Options) error {
	if err := os.MkdirAll(options.DataDir, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(options.DataDir, 0o711); err != nil { // whatever the caller's umask
		return err
	}
	if err := os.Chmod(stage, 0o755); err != nil { // the authority's certificate in it is for everybody; secrets have modes of their own
		return err
	}
	if err := syncFolder(stage); err != nil {
		return err
	}
	// Not os.Rename, which refuses even an empty folder in the way.
	if err := unix.Rename(stage, options.ConfigDir); err != nil {
		return fmt.Errorf("put %s in its place: %w", options.ConfigDir, err)
	}
	return syncFolder(filepath.Dir(options.ConfigDir))
}

func fill(stage string, options Options) (Result, error) {
	cluster, err := uuid.NewV7()
	if err != nil {
		return Result{}, err
	}
	host, err := uuid.NewV7()
	if err != nil {
		return Result{}, err
	}
	authority, err := ca.NewAuthority(cluster.String())
	if err != nil {
		return Result{}, err
	}
	if err := authority.Save(filepath.Join(stage, AuthorityDir)); err != nil {
		return Result{}, err
	}
	if err := ca.WriteCertificate(filepath.Join(stage, CAFile), authority.CertificatePEM()); err != nil {
		return Result{}, err
	}
	for name, request := range certificates(options, host.String()) {
		bundle, err := authority.Issue(request)
		if err != nil {
			return Result{}, err
		}
		if err := ca.WriteBundle(filepath.Join(stage, name), bundle); err != nil {
			return Result{}, err
		}
	}
	token, first, err := newFirst(options, cluster.String())
	if err != nil {
		return Result{}, err
	}
	if err := writeFirst(filepath.Join(stage, FirstFile), first); err != nil {
		return Result{}, err
	}
	if err := writeConfigurations(stage, options, cluster.String()); err != nil {
		return Result{}, err
	}
	result := resultOf(options, first, host.String(), token)
	result.Files, err = filesIn(stage, options.ConfigDir)
	return result, err
}

// filesIn lists the files below a folder as they will be called when the folder has another name.
func filesIn(folder, called string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, filepath.Join(called, strings.TrimPrefix(path, folder)))
		}
		return err
	})
	return files, err
}

func resultOf(options Options, first first, host, token string) Result {
	return Result{
		Cluster: first.Cluster, Name: first.Name, Host: host, Endpoint: "https://" + options.reachedAt(portAPI), CAFile: filepath.Join(options.ConfigDir, CAFile),
		Admin: first.Admin, Token: token, TokenExpires: first.ExpiresAt,
	}
}

// first has the form of controller.First, which cannot be imported here: it would bring Raft and the rest into the CLI. A test holds them equal.
type first struct {
	Cluster   string    `json:"cluster"`
	Name      string    `json:"name"`
	Admin     string    `json:"admin"`
	TokenHash string    `json:"tokenHash"`
	ExpiresAt time.Time `json:"expiresAt"`
	Created   time.Time `json:"created"`
	Recovery  bool      `json:"recovery,omitempty"`
}

func newFirst(options Options, cluster string) (token string, made first, err error) {
	token, err = newToken()
	if err != nil {
		return "", first{}, err
	}
	now := options.Now().UTC().Truncate(time.Second)
	return token, first{
		Cluster: cluster, Name: options.Name, Admin: options.Admin,
		TokenHash: hashOf(token), ExpiresAt: now.Add(TokenLifetime), Created: now,
	}, nil
}

// newToken is 256 random bits, so that guessing one, or reversing its hash, is out of the question.
func newToken() (string, error) {
	var secret [32]byte
	if _, err := rand.Read(secret[:]); err != nil {
		return "", fmt.Errorf("make the one-time token: %w", err)
	}
	return TokenPrefix + base64.RawURLEncoding.EncodeToString(secret[:]), nil
}

func hashOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func writeFirst(path string, value first) error {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(text, '\n'), 0o600)
}

// renewToken gives a new token to a cloud that has not begun. Everything else stays: what the earlier run was told about names and addresses holds.
func renewToken(options Options) (Result, error) {
	path := filepath.Join(options.ConfigDir, FirstFile)
	configuration, err := readController(options.ConfigDir)
	if err != nil {
		return Result{}, err
	}
	if begun(configuration.DataFolder) {
		return Result{}, existsProblem(options.ConfigDir)
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{}, existsProblem(options.ConfigDir)
	}
	var old first
	if err == nil {
		err = json.Unmarshal(text, &old)
	}
	if err != nil {
		return Result{}, fmt.Errorf("read what the cloud begins with: %w", err)
	}
	token, made, err := newFirst(options, old.Cluster)
	if err != nil {
		return Result{}, err
	}
	made.Name, made.Admin = old.Name, old.Admin
	if err := writeFirst(path, made); err != nil {
		return Result{}, err
	}
	host, err := certificateID(filepath.Join(options.ConfigDir, HostCertificate))
	if err != nil {
		return Result{}, err
	}
	result := resultOf(options, made, host, token)
	result.Endpoint = configuration.APIEndpoint
	result.Renewed, result.Files = true, []string{path}
	return result, nil
}

// begun says whether the controller has ever been started: it makes its folder first of all.
func begun(dataDir string) bool {
	_, err := os.Lstat(dataDir)
	return !errors.Is(err, fs.ErrNotExist)
}

func existsProblem(configDir string) *v1.Problem {
	return v1.NewProblem(v1.CodeConflict, "this server has a cloud already (%s); nothing was changed", configDir).
		WithNext("Log in with coloa login, or see how it is with coloa cluster status. To begin anew, remove the old cloud first (make down).")
}
