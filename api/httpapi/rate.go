package httpapi

import (
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

// maxLimiters bounds the memory of a limiter (about 20 MiB). The one that was used longest ago is forgotten first; a forgotten one starts full,
// as one that has been left alone is anyway, so nothing needs to expire.
const maxLimiters = 100_000

// limiter gives each key a bucket of requests that refills at a steady rate.
type limiter struct {
	buckets *lru.Cache[string, *rate.Limiter]
	rate    rate.Limit
	burst   int
}

// newLimiter makes a limiter; a negative rate does not limit.
func newLimiter(perSecond float64, burst int) *limiter {
	if perSecond < 0 {
		return nil
	}
	buckets, err := lru.New[string, *rate.Limiter](maxLimiters)
	if err != nil {
		panic(err) // only a size below one is an error
	}
	return &limiter{buckets: buckets, rate: rate.Limit(perSecond), burst: max(1, burst)}
}

func (l *limiter) bucket(key string) *rate.Limiter {
	if found, ok := l.buckets.Get(key); ok {
		return found
	}
	made := rate.NewLimiter(l.rate, l.burst)
	if earlier, ok, _ := l.buckets.PeekOrAdd(key, made); ok {
		return earlier
	}
	return made
}

// take takes one; when there is none it says how long to wait.
func (l *limiter) take(key string) (ok bool, wait time.Duration) {
	if l == nil {
		return true, 0
	}
	now := time.Now()
	reservation := l.bucket(key).ReserveN(now, 1)
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
		return false, wait
	}
	return true, 0
}

// charge takes several even when they are not there: the key then waits longer.
func (l *limiter) charge(key string, count int) {
	if l != nil {
		l.bucket(key).ReserveN(time.Now(), min(count, l.burst))
	}
}

// gate bounds what is open at a time for each key.
type gate struct {
	mu   sync.Mutex
	open map[string]int
	most int
}

func newGate(most int) *gate { return &gate{open: map[string]int{}, most: most} }

// enter says whether one more may be open; leave must follow when it may.
func (g *gate) enter(key string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.most >= 0 && g.open[key] >= g.most {
		return false
	}
	g.open[key]++
	return true
}

func (g *gate) leave(key string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.open[key]--; g.open[key] <= 0 {
		delete(g.open, key)
	}
}
