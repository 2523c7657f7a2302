package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Bench is one program run: which workload, how often; it prints the one row.
type Bench struct {
	workload string
	scale    float64
	reps     int
	warm     int
}

func newBench() *Bench {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: peer-go <workload>")
		os.Exit(2)
	}
	return &Bench{
		workload: os.Args[1],
		scale:    number("PEERS_SCALE", 1),
		reps:     int(number("PEERS_REPS", 5)),
		warm:     1,
	}
}

func number(name string, otherwise float64) float64 {
	if x, err := strconv.ParseFloat(os.Getenv(name), 64); err == nil {
		return x
	}
	return otherwise
}

// n scales a size, in whole multiples of 1 000 where it was one.
func (b *Bench) n(n int) int {
	unit := 1
	if n%1_000 == 0 {
		unit = 1_000
	}
	return max(int(float64(n)*b.scale)/unit*unit, unit)
}

// each scales what each of several tasks does.
func (b *Bench) each(tasks, n int) int { return b.n(tasks*n) / tasks }

// leaves scales the leaves of a tree, in powers of ten.
func (b *Bench) leaves(all int) int {
	leaves := all
	for leaves > 1_000 && float64(leaves) > float64(all)*b.scale {
		leaves /= 10
	}
	return leaves
}

// time runs one warm-up and then the measured repetitions; one does ops operations
// and returns how long they took, and may return named numbers besides.
func (b *Bench) time(ops int, one func() (time.Duration, map[string]float64)) {
	var ns []float64
	extras := map[string][]float64{}
	for rep := range b.warm + b.reps {
		took, extra := one()
		if rep < b.warm {
			continue
		}
		ns = append(ns, float64(took.Nanoseconds())/float64(ops))
		for name, x := range extra {
			extras[name] = append(extras[name], x)
		}
	}
	row := map[string]float64{}
	for name, all := range extras {
		row[name] = median(all)
	}
	b.print(ops, ns, row)
}

func (b *Bench) print(ops int, ns []float64, extras map[string]float64) {
	row := b.head()
	mid := median(ns)
	row["n"], row["reps"] = ops, len(ns)
	row["ns_per_op"], row["ns_min"], row["ns_max"] = mid, slices.Min(ns), slices.Max(ns)
	row["ops_per_s"] = 1e9 / mid
	for name, x := range extras {
		row[name] = x
	}
	printRow(row)
}

func (b *Bench) skip(why string) {
	row := b.head()
	row["skipped"] = why
	printRow(row)
}

func (b *Bench) head() map[string]any {
	version := strings.Replace(runtime.Version(), "go", "Go ", 1)
	return map[string]any{"peer": "go", "version": version, "workload": b.workload}
}

func printRow(row map[string]any) {
	line, err := json.Marshal(row)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func median(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	mid := len(all) / 2
	if len(all)%2 == 1 {
		return all[mid]
	}
	return (all[mid-1] + all[mid]) / 2
}

// cpuTime is the user plus system time of this process so far.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// memory reads a field of /proc/self/status in bytes, such as VmRSS or VmHWM.
func memory(field string) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		if strings.HasPrefix(line, field) {
			kb, _ := strconv.Atoi(strings.Fields(line)[1])
			return float64(kb) * 1_024
		}
	}
	panic(field)
}

// lcg draws the sleeps of timers_churn; one per task, seeded with its index.
type lcg uint64

func (l *lcg) sleep() time.Duration {
	*l = *l*6364136223846793005 + 1442695040888963407
	return time.Duration(*l>>33%churnMaxUs) * time.Microsecond
}

func sumBelow(n int) int { return n * (n - 1) / 2 }

func check(got, want int) {
	if got != want {
		panic(fmt.Sprintf("got %d, want %d", got, want))
	}
}

func treeNodes(leaves int) int {
	total := 0
	for level := 1; level <= leaves; level *= 10 {
		total += level
	}
	return total
}
