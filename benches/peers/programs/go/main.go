// Go: goroutines on two Ps, or PEERS_WORKERS.
package main

import (
	"context"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	spawnN         = 1_000_000
	spawnBatch     = 1_000
	burstN         = 1_000_000
	yieldTasks     = 1_000
	yieldEach      = 1_000
	yieldOne       = 1_000_000
	pingPongN      = 200_000
	skynetLeaves   = 1_000_000
	sleepers       = 1_000_000
	sleep          = 10 * time.Second
	churnTasks     = 1_000
	churnSleeps    = 200
	churnMaxUs     = 5_000
	timeouts       = 1_000_000
	far            = time.Hour
	messages       = 2_000_000
	buffer         = 128
	lockTasks      = 64
	lockIters      = 20_000
	permits        = 10
	cancelParents  = 1_000
	cancelChildren = 1_000
	scopes         = 100_000
	scopeChildren  = 10
	echoBytes      = 64
)

func main() {
	runtime.GOMAXPROCS(int(number("PEERS_WORKERS", 2)))
	b := newBench()
	simple := func(ops int, one func() time.Duration) {
		b.time(ops, func() (time.Duration, map[string]float64) { return one(), nil })
	}
	switch b.workload {
	case "spawn_join":
		n := b.n(spawnN)
		simple(n, func() time.Duration { return spawnJoin(n) })
	case "spawn_burst":
		n := b.n(burstN)
		simple(n, func() time.Duration { return spawnBurst(n) })
	case "yield_many":
		each := b.each(yieldTasks, yieldEach)
		simple(yieldTasks*each, func() time.Duration { return yields(yieldTasks, each) })
	case "yield_one":
		n := b.n(yieldOne)
		simple(n, func() time.Duration { return yields(1, n) })
	case "ping_pong":
		n := b.n(pingPongN)
		simple(n, func() time.Duration { return pingPong(n) })
	case "skynet":
		leaves := b.leaves(skynetLeaves)
		simple(treeNodes(leaves), func() time.Duration { return skynetRoot(leaves) })
	case "million_sleepers":
		millionSleepers(b)
	case "timers_churn":
		sleeps := b.each(churnTasks, churnSleeps)
		n := churnTasks * sleeps
		b.time(n, func() (time.Duration, map[string]float64) {
			cpu := cpuTime()
			late, wall := timersChurn(sleeps)
			return cpuTime() - cpu, map[string]float64{
				"mean_late_us": float64(late.Microseconds()) / float64(n),
				"wall_ms":      float64(wall.Milliseconds()),
			}
		})
	case "timeout_ready":
		n := b.n(timeouts)
		simple(n, func() time.Duration { return timeout(n, func() {}) })
	case "timeout_yield":
		n := b.n(timeouts)
		simple(n, func() time.Duration { return timeout(n, runtime.Gosched) })
	case "timeout_wake":
		b.skip("only for Rust's futures")
	case "channel_spsc":
		n := b.n(messages)
		simple(n, func() time.Duration { return channel(n, 1, 1) })
	case "channel_mpsc":
		n := b.n(messages)
		simple(n, func() time.Duration { return channel(n, 4, 1) })
	case "channel_mpmc":
		n := b.n(messages)
		simple(n, func() time.Duration { return channel(n, 4, 4) })
	case "mutex":
		each := b.n(lockIters)
		simple(lockTasks*each, func() time.Duration { return mutex(each, false) })
	case "mutex_yield":
		each := b.n(lockIters)
		simple(lockTasks*each, func() time.Duration { return mutex(each, true) })
	case "semaphore":
		each := b.n(lockIters)
		simple(lockTasks*each, func() time.Duration { return semaphore(each, false) })
	case "semaphore_yield":
		each := b.n(lockIters)
		simple(lockTasks*each, func() time.Duration { return semaphore(each, true) })
	case "cancel_tree":
		children := b.each(cancelParents, cancelChildren)
		simple(cancelParents*(children+1), func() time.Duration {
			return cancelTree(cancelParents, children)
		})
	case "hop", "hop_in_place":
		b.skip("a goroutine may block where it is")
	case "scope":
		n := b.n(scopes)
		simple(n, func() time.Duration { return scope(n) })
	case "scope_vec":
		b.skip("the same as scope: a WaitGroup")
	case "tcp_echo":
		tcpEcho(b)
	default:
		b.skip("unknown workload " + b.workload)
	}
}

// A goroutine has no handle; a WaitGroup and a slot for the result stand in.
func spawnJoin(n int) time.Duration {
	t := time.Now()
	sum := 0
	results := make([]int, spawnBatch)
	for batch := range n / spawnBatch {
		var wg sync.WaitGroup
		wg.Add(spawnBatch)
		for i := range spawnBatch {
			go func() {
				results[i] = batch*spawnBatch + i
				wg.Done()
			}()
		}
		wg.Wait()
		for _, x := range results {
			sum += x
		}
	}
	check(sum, sumBelow(n))
	return time.Since(t)
}

func spawnBurst(n int) time.Duration {
	t := time.Now()
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	for range n {
		go func() {
			if left.Add(-1) == 0 {
				close(done)
			}
		}()
	}
	<-done
	return time.Since(t)
}

func yields(tasks, each int) time.Duration {
	t := time.Now()
	var wg sync.WaitGroup
	for range tasks {
		wg.Go(func() {
			for range each {
				runtime.Gosched()
			}
		})
	}
	wg.Wait()
	return time.Since(t)
}

func pingPong(n int) time.Duration {
	t := time.Now()
	ping, pong := make(chan int), make(chan int)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range n {
			ping <- i
			check(<-pong, i)
		}
	})
	wg.Go(func() {
		for range n {
			pong <- <-ping
		}
	})
	wg.Wait()
	return time.Since(t)
}

func skynetRoot(leaves int) time.Duration {
	t := time.Now()
	result := make(chan int, 1)
	go skynet(result, 0, leaves)
	check(<-result, sumBelow(leaves))
	return time.Since(t)
}

func skynet(result chan<- int, base, size int) {
	if size == 1 {
		result <- base
		return
	}
	sub := size / 10
	children := make(chan int, 10)
	for i := range 10 {
		go skynet(children, base+i*sub, sub)
	}
	sum := 0
	for range 10 {
		sum += <-children
	}
	result <- sum
}

func millionSleepers(b *Bench) {
	n := b.n(sleepers)
	before, cpu, t := memory("VmRSS"), cpuTime(), time.Now()
	var left atomic.Int64
	left.Store(int64(n))
	done := make(chan struct{})
	for range n {
		go func() {
			time.Sleep(sleep)
			if left.Add(-1) == 0 {
				close(done)
			}
		}()
	}
	<-done
	wall := time.Since(t)
	cpu = cpuTime() - cpu
	bytes := memory("VmHWM") - before
	b.print(n, []float64{float64(cpu.Nanoseconds()) / float64(n)}, map[string]float64{
		"bytes_per_task": bytes / float64(n),
		"cpu_ms":         float64(cpu.Milliseconds()),
		"wall_ms":        float64(wall.Milliseconds()),
	})
}

func timersChurn(sleeps int) (late, wall time.Duration) {
	t := time.Now()
	var wg sync.WaitGroup
	var total atomic.Int64
	for task := range churnTasks {
		wg.Go(func() {
			draw := lcg(task)
			var late time.Duration
			for range sleeps {
				d := draw.sleep()
				from := time.Now()
				time.Sleep(d)
				late += max(time.Since(from)-d, 0)
			}
			total.Add(int64(late))
		})
	}
	wg.Wait()
	return time.Duration(total.Load()), time.Since(t)
}

// The idiom for a timeout around a piece of work is a context, which the work may
// look at.
func timeout(n int, work func()) time.Duration {
	t := time.Now()
	for range n {
		ctx, cancel := context.WithTimeout(context.Background(), far)
		work()
		if ctx.Err() != nil {
			panic("timed out")
		}
		cancel()
	}
	return time.Since(t)
}

func channel(n, producers, consumers int) time.Duration {
	t := time.Now()
	c := make(chan int, buffer)
	each := n / producers
	var wg sync.WaitGroup
	var sum atomic.Int64
	for range producers {
		wg.Go(func() {
			for i := range each {
				c <- i
			}
		})
	}
	for range consumers {
		wg.Go(func() {
			own := 0
			for range each * producers / consumers {
				own += <-c
			}
			sum.Add(int64(own))
		})
	}
	wg.Wait()
	check(int(sum.Load()), sumBelow(each)*producers)
	return time.Since(t)
}

func mutex(each int, yielding bool) time.Duration {
	t := time.Now()
	var m sync.Mutex
	var wg sync.WaitGroup
	held := 0
	for range lockTasks {
		wg.Go(func() {
			for range each {
				m.Lock()
				held++
				if yielding {
					runtime.Gosched()
				}
				m.Unlock()
			}
		})
	}
	wg.Wait()
	check(held, lockTasks*each)
	return time.Since(t)
}

// A buffered channel is Go's semaphore.
func semaphore(each int, yielding bool) time.Duration {
	t := time.Now()
	s := make(chan struct{}, permits)
	var wg sync.WaitGroup
	var held atomic.Int64
	for range lockTasks {
		wg.Go(func() {
			for range each {
				s <- struct{}{}
				held.Add(1)
				if yielding {
					runtime.Gosched()
				}
				<-s
			}
		})
	}
	wg.Wait()
	check(int(held.Load()), lockTasks*each)
	return time.Since(t)
}

// Every parent derives a context of its own from the root's; its children watch it.
func cancelTree(parents, children int) time.Duration {
	root, cancel := context.WithCancel(context.Background())
	defer cancel()
	var all sync.WaitGroup
	var started atomic.Int64
	for range parents {
		all.Go(func() {
			ctx, cancel := context.WithCancel(root)
			defer cancel()
			var set sync.WaitGroup
			for range children {
				set.Go(func() {
					started.Add(1)
					<-ctx.Done()
				})
			}
			started.Add(1)
			set.Wait()
		})
	}
	for int(started.Load()) < parents*(children+1) {
		time.Sleep(time.Millisecond)
	}
	t := time.Now()
	cancel()
	all.Wait()
	return time.Since(t)
}

func scope(n int) time.Duration {
	t := time.Now()
	for range n {
		var wg sync.WaitGroup
		var results [scopeChildren]int
		wg.Add(scopeChildren)
		for i := range scopeChildren {
			go func() {
				results[i] = i
				wg.Done()
			}()
		}
		wg.Wait()
		sum := 0
		for _, x := range results {
			sum += x
		}
		check(sum, sumBelow(scopeChildren))
	}
	return time.Since(t)
}

func tcpEcho(b *Bench) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	row := b.head()
	row["port"] = listener.Addr().(*net.TCPAddr).Port
	printRow(row)
	for {
		conn, err := listener.Accept() // no-delay is Go's default
		if err != nil {
			panic(err)
		}
		go func() {
			defer conn.Close()
			var buf [echoBytes]byte
			for {
				n, err := conn.Read(buf[:])
				if err != nil {
					return
				}
				if _, err := conn.Write(buf[:n]); err != nil {
					return
				}
			}
		}()
	}
}

