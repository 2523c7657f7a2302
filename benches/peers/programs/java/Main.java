import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Semaphore;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Supplier;

/**
 * Java's virtual threads, on as many carriers as a property of the JVM says. The sources compile with JDK 17, which knows
 * neither virtual threads nor StructuredTaskScope; both are looked up once, as a factory
 * and as constant method handles, which the JIT compiles like direct calls.
 */
public final class Main {
    static final int SPAWN_N = 1_000_000;
    static final int SPAWN_BATCH = 1_000;
    static final int BURST_N = 1_000_000;
    static final int YIELD_TASKS = 1_000;
    static final int YIELDS = 1_000;
    static final int YIELD_ONE = 1_000_000;
    static final int PING_PONG = 200_000;
    static final int SKYNET_LEAVES = 1_000_000;
    static final int SLEEPERS = 1_000_000;
    static final long SLEEP_MS = 10_000;
    static final int CHURN_TASKS = 1_000;
    static final int CHURN_SLEEPS = 200;
    static final long CHURN_MAX_US = 5_000;
    static final int TIMEOUTS = 1_000_000;
    static final int MESSAGES = 2_000_000;
    static final int BUFFER = 128;
    static final int LOCK_TASKS = 64;
    static final int LOCK_ITERS = 20_000;
    static final int PERMITS = 10;
    static final int CANCEL_PARENTS = 1_000;
    static final int CANCEL_CHILDREN = 1_000;
    static final int HOPS = 200_000;
    static final int SCOPES = 100_000;
    static final int SCOPE_CHILDREN = 10;
    static final int ECHO_BYTES = 64;

    private static final ThreadFactory VIRTUAL;
    private static final MethodHandle OPEN;
    private static final MethodHandle FORK;
    private static final MethodHandle JOIN;

    static {
        try {
            MethodHandles.Lookup lookup = MethodHandles.publicLookup();
            Object builder = Thread.class.getMethod("ofVirtual").invoke(null);
            Class<?> builderType = Class.forName("java.lang.Thread$Builder");
            VIRTUAL = (ThreadFactory) builderType.getMethod("factory").invoke(builder);
            Class<?> scope = Class.forName("java.util.concurrent.StructuredTaskScope");
            Class<?> subtask = Class.forName("java.util.concurrent.StructuredTaskScope$Subtask");
            OPEN = lookup.findStatic(scope, "open", MethodType.methodType(scope))
                    .asType(MethodType.methodType(Object.class));
            FORK = lookup.findVirtual(scope, "fork", MethodType.methodType(subtask, Callable.class))
                    .asType(MethodType.methodType(Supplier.class, Object.class, Callable.class));
            JOIN = lookup.findVirtual(scope, "join", MethodType.methodType(Object.class))
                    .asType(MethodType.methodType(Object.class, Object.class));
        } catch (ReflectiveOperationException e) {
            throw new ExceptionInInitializerError(e);
        }
    }

    /** StructuredTaskScope with its default policy: all must succeed. */
    static final class Scope implements AutoCloseable {
        private final Object inner;

        Scope() {
            try {
                inner = (Object) OPEN.invokeExact();
            } catch (Throwable e) {
                throw new IllegalStateException(e);
            }
        }

        @SuppressWarnings("unchecked")
        <T> Supplier<T> fork(Callable<T> body) {
            try {
                return (Supplier<T>) (Supplier<?>) (Supplier) FORK.invokeExact(inner, (Callable) body);
            } catch (Throwable e) {
                throw new IllegalStateException(e);
            }
        }

        void join() throws InterruptedException {
            try {
                Object ignored = (Object) JOIN.invokeExact(inner);
            } catch (InterruptedException e) {
                throw e;
            } catch (Throwable e) {
                throw new IllegalStateException(e);
            }
        }

        @Override
        public void close() {
            try {
                ((AutoCloseable) inner).close();
            } catch (Exception e) {
                throw new IllegalStateException(e);
            }
        }
    }

    interface Body {
        void run() throws Exception;
    }

    static Thread start(Body body) {
        Thread t = VIRTUAL.newThread(() -> {
            try {
                body.run();
            } catch (Exception e) {
                e.printStackTrace();
                System.exit(1);
            }
        });
        t.start();
        return t;
    }

    /** Nanoseconds {@code body} takes, run in a virtual thread of its own. */
    static long onVirtual(Body body) throws InterruptedException {
        AtomicLong took = new AtomicLong();
        start(() -> {
            long t = System.nanoTime();
            body.run();
            took.set(System.nanoTime() - t);
        }).join();
        return took.get();
    }

    private static void time(Bench b, int ops, Body body) throws Exception {
        b.time(ops, extra -> onVirtual(body));
    }

    public static void main(String[] args) throws Exception {
        Bench b = new Bench(args[0]);
        switch (b.workload) {
            case "spawn_join" -> time(b, b.n(SPAWN_N), () -> spawnJoin(b.n(SPAWN_N)));
            case "spawn_burst" -> time(b, b.n(BURST_N), () -> spawnBurst(b.n(BURST_N)));
            case "yield_many" -> {
                int each = b.each(YIELD_TASKS, YIELDS);
                time(b, YIELD_TASKS * each, () -> yields(YIELD_TASKS, each));
            }
            case "yield_one" -> time(b, b.n(YIELD_ONE), () -> yields(1, b.n(YIELD_ONE)));
            case "ping_pong" -> time(b, b.n(PING_PONG), () -> pingPong(b.n(PING_PONG)));
            case "skynet" -> {
                int leaves = b.leaves(SKYNET_LEAVES);
                time(b, Bench.treeNodes(leaves), () -> {
                    long[] sum = new long[1];
                    start(() -> sum[0] = skynet(0, leaves)).join();
                    Bench.check(sum[0], Bench.sumBelow(leaves));
                });
            }
            case "million_sleepers" -> millionSleepers(b);
            case "timers_churn" -> timersChurn(b);
            case "timeout_ready" -> time(b, b.n(TIMEOUTS), () -> timeout(b.n(TIMEOUTS), () -> {}));
            case "timeout_yield" -> time(b, b.n(TIMEOUTS), () -> timeout(b.n(TIMEOUTS), Thread::yield));
            case "timeout_wake" -> b.skip("only for Rust's futures");
            case "channel_spsc" -> time(b, b.n(MESSAGES), () -> channel(b.n(MESSAGES), 1, 1));
            case "channel_mpsc" -> time(b, b.n(MESSAGES), () -> channel(b.n(MESSAGES), 4, 1));
            case "channel_mpmc" -> time(b, b.n(MESSAGES), () -> channel(b.n(MESSAGES), 4, 4));
            case "mutex" -> time(b, LOCK_TASKS * b.n(LOCK_ITERS), () -> mutex(b.n(LOCK_ITERS), false));
            case "mutex_yield" -> time(b, LOCK_TASKS * b.n(LOCK_ITERS), () -> mutex(b.n(LOCK_ITERS), true));
            case "semaphore" -> time(b, LOCK_TASKS * b.n(LOCK_ITERS), () -> semaphore(b.n(LOCK_ITERS), false));
            case "semaphore_yield" -> time(b, LOCK_TASKS * b.n(LOCK_ITERS), () -> semaphore(b.n(LOCK_ITERS), true));
            case "cancel_tree" -> {
                int children = b.each(CANCEL_PARENTS, CANCEL_CHILDREN);
                b.time(CANCEL_PARENTS * (children + 1), extra -> cancelTree(CANCEL_PARENTS, children));
            }
            case "hop" -> hop(b);
            case "hop_in_place" -> b.skip("a virtual thread may block where it is");
            case "scope" -> time(b, b.n(SCOPES), () -> scope(b.n(SCOPES)));
            case "scope_vec" -> time(b, b.n(SCOPES), () -> scopeVec(b.n(SCOPES)));
            case "tcp_echo" -> tcpEcho(b);
            default -> b.skip("unknown workload " + b.workload);
        }
        System.exit(0);
    }

    /** A thread returns nothing; a slot per task takes its result. */
    static void spawnJoin(int n) throws InterruptedException {
        long sum = 0;
        Thread[] batch = new Thread[SPAWN_BATCH];
        int[] results = new int[SPAWN_BATCH];
        for (int from = 0; from < n; from += SPAWN_BATCH) {
            for (int i = 0; i < SPAWN_BATCH; i++) {
                int slot = i, x = from + i;
                batch[i] = start(() -> results[slot] = x);
            }
            for (int i = 0; i < SPAWN_BATCH; i++) {
                batch[i].join();
                sum += results[i];
            }
        }
        Bench.check(sum, Bench.sumBelow(n));
    }

    static void spawnBurst(int n) throws InterruptedException {
        AtomicInteger left = new AtomicInteger(n);
        CountDownLatch done = new CountDownLatch(1);
        for (int i = 0; i < n; i++) {
            start(() -> {
                if (left.decrementAndGet() == 0) done.countDown();
            });
        }
        done.await();
    }

    static void yields(int tasks, int each) throws InterruptedException {
        joinAll(tasks, task -> {
            for (int i = 0; i < each; i++) Thread.yield();
        });
    }

    interface Indexed {
        void run(int index) throws Exception;
    }

    static void joinAll(int tasks, Indexed body) throws InterruptedException {
        List<Thread> all = new ArrayList<>(tasks);
        for (int i = 0; i < tasks; i++) {
            int task = i;
            all.add(start(() -> body.run(task)));
        }
        for (Thread t : all) t.join();
    }

    static void pingPong(int n) throws InterruptedException {
        SynchronousQueue<Integer> ping = new SynchronousQueue<>();
        SynchronousQueue<Integer> pong = new SynchronousQueue<>();
        joinAll(2, task -> {
            if (task == 0) {
                for (int i = 0; i < n; i++) {
                    ping.put(i);
                    Bench.check(pong.take(), i);
                }
            } else {
                for (int i = 0; i < n; i++) pong.put(ping.take());
            }
        });
    }

    static long skynet(int base, int size) throws InterruptedException {
        if (size == 1) return base;
        int sub = size / 10;
        Thread[] children = new Thread[10];
        long[] results = new long[10];
        for (int i = 0; i < 10; i++) {
            int slot = i;
            children[i] = start(() -> results[slot] = skynet(base + slot * sub, sub));
        }
        long sum = 0;
        for (int i = 0; i < 10; i++) {
            children[i].join();
            sum += results[i];
        }
        return sum;
    }

    static void millionSleepers(Bench b) throws Exception {
        int n = b.n(SLEEPERS);
        boolean heapToo = System.getenv("PEERS_LIVE_HEAP") != null;
        Map<String, Double> extras = new TreeMap<>();
        double heap = heapToo ? Bench.liveHeap() : 0;
        double before = Bench.memory("VmRSS");
        long cpu = Bench.cpuTime();
        long wall = onVirtual(() -> {
            AtomicInteger left = new AtomicInteger(n);
            CountDownLatch done = new CountDownLatch(1);
            for (int i = 0; i < n; i++) {
                start(() -> {
                    Thread.sleep(SLEEP_MS);
                    if (left.decrementAndGet() == 0) done.countDown();
                });
            }
            if (heapToo) {
                Thread.sleep(SLEEP_MS / 2);
                extras.put("live_heap_bytes_per_task", (Bench.liveHeap() - heap) / n);
            }
            done.await();
        });
        long used = Bench.cpuTime() - cpu;
        extras.put("wall_ms", wall / 1e6);
        extras.put("cpu_ms", used / 1e6);
        extras.put("bytes_per_task", (Bench.memory("VmHWM") - before) / n);
        b.print(n, List.of((double) used / n), extras);
    }

    static void timersChurn(Bench b) throws Exception {
        int sleeps = b.each(CHURN_TASKS, CHURN_SLEEPS);
        int n = CHURN_TASKS * sleeps;
        b.time(n, extra -> {
            long cpu = Bench.cpuTime();
            AtomicLong late = new AtomicLong();
            long wall = onVirtual(() -> joinAll(CHURN_TASKS, task -> {
                Bench.Lcg draw = new Bench.Lcg(task);
                long own = 0;
                for (int i = 0; i < sleeps; i++) {
                    long nanos = draw.sleepMicros() * 1_000;
                    long from = System.nanoTime();
                    Thread.sleep(nanos / 1_000_000, (int) (nanos % 1_000_000));
                    own += Math.max(System.nanoTime() - from - nanos, 0);
                }
                late.addAndGet(own);
            }));
            extra.put("mean_late_us", late.get() / 1e3 / n);
            extra.put("wall_ms", wall / 1e6);
            return Bench.cpuTime() - cpu;
        });
    }

    /** The nearest thing to a timeout around work that usually finishes: orTimeout. */
    static void timeout(int n, Runnable work) {
        for (int i = 0; i < n; i++) {
            CompletableFuture<Integer> f = new CompletableFuture<Integer>().orTimeout(1, TimeUnit.HOURS);
            work.run();
            f.complete(i);
            Bench.check(f.join(), i);
        }
    }

    static void channel(int n, int producers, int consumers) throws InterruptedException {
        ArrayBlockingQueue<Integer> queue = new ArrayBlockingQueue<>(BUFFER);
        int each = n / producers;
        AtomicLong sum = new AtomicLong();
        joinAll(producers + consumers, task -> {
            if (task < producers) {
                for (int i = 0; i < each; i++) queue.put(i);
            } else {
                long own = 0;
                for (int i = 0; i < each * producers / consumers; i++) own += queue.take();
                sum.addAndGet(own);
            }
        });
        Bench.check(sum.get(), Bench.sumBelow(each) * producers);
    }

    static void mutex(int each, boolean yielding) throws InterruptedException {
        ReentrantLock lock = new ReentrantLock();
        int[] held = new int[1];
        joinAll(LOCK_TASKS, task -> {
            for (int i = 0; i < each; i++) {
                lock.lock();
                try {
                    held[0]++;
                    if (yielding) Thread.yield();
                } finally {
                    lock.unlock();
                }
            }
        });
        Bench.check(held[0], LOCK_TASKS * each);
    }

    static void semaphore(int each, boolean yielding) throws InterruptedException {
        Semaphore s = new Semaphore(PERMITS);
        AtomicInteger held = new AtomicInteger();
        joinAll(LOCK_TASKS, task -> {
            for (int i = 0; i < each; i++) {
                s.acquire();
                try {
                    held.incrementAndGet();
                    if (yielding) Thread.yield();
                } finally {
                    s.release();
                }
            }
        });
        Bench.check(held.get(), LOCK_TASKS * each);
    }

    /** Nanoseconds from the interruption of the root to the end of the whole tree. */
    static long cancelTree(int parents, int children) throws InterruptedException {
        AtomicInteger started = new AtomicInteger();
        Thread root = start(() -> untilInterrupted(parents, () -> {
            started.incrementAndGet();
            untilInterrupted(children, () -> {
                started.incrementAndGet();
                while (!Thread.interrupted()) LockSupport.park();
            });
        }));
        while (started.get() < parents * (children + 1)) Thread.sleep(1);
        long t = System.nanoTime();
        root.interrupt();
        root.join();
        return System.nanoTime() - t;
    }

    static void untilInterrupted(int children, Body child) {
        try (Scope scope = new Scope()) {
            for (int i = 0; i < children; i++) {
                scope.fork(() -> {
                    child.run();
                    return null;
                });
            }
            scope.join();
        } catch (InterruptedException cancelled) {
            // `close` has interrupted the children and waited for them.
        }
    }

    static void hop(Bench b) throws Exception {
        ExecutorService platform = Executors.newCachedThreadPool();
        int n = b.n(HOPS);
        time(b, n, () -> {
            long sum = 0;
            for (int i = 0; i < n; i++) {
                int x = i;
                sum += platform.submit(() -> x).get();
            }
            Bench.check(sum, Bench.sumBelow(n));
        });
    }

    static void scope(int n) throws InterruptedException {
        List<Supplier<Integer>> children = new ArrayList<>(SCOPE_CHILDREN);
        for (int s = 0; s < n; s++) {
            try (Scope scope = new Scope()) {
                for (int i = 0; i < SCOPE_CHILDREN; i++) {
                    int x = i;
                    children.add(scope.fork(() -> x));
                }
                scope.join();
                long sum = 0;
                for (Supplier<Integer> c : children) sum += c.get();
                Bench.check(sum, Bench.sumBelow(SCOPE_CHILDREN));
                children.clear();
            }
        }
    }

    static void scopeVec(int n) throws InterruptedException {
        for (int s = 0; s < n; s++) {
            Thread[] children = new Thread[SCOPE_CHILDREN];
            int[] results = new int[SCOPE_CHILDREN];
            for (int i = 0; i < SCOPE_CHILDREN; i++) {
                int slot = i;
                children[i] = start(() -> results[slot] = slot);
            }
            long sum = 0;
            for (int i = 0; i < SCOPE_CHILDREN; i++) {
                children[i].join();
                sum += results[i];
            }
            Bench.check(sum, Bench.sumBelow(SCOPE_CHILDREN));
        }
    }

    static void tcpEcho(Bench b) throws Exception {
        ServerSocket server = new ServerSocket(0, 1_024, InetAddress.getLoopbackAddress());
        b.printRow(Map.of("port", server.getLocalPort()));
        start(() -> {
            while (true) {
                Socket socket = server.accept();
                socket.setTcpNoDelay(true);
                start(() -> {
                    byte[] buf = new byte[ECHO_BYTES];
                    try (socket) {
                        var in = socket.getInputStream();
                        var out = socket.getOutputStream();
                        for (int n; (n = in.read(buf)) > 0; ) out.write(buf, 0, n);
                    } catch (java.io.IOException clientGone) {
                        // the connection is over
                    }
                });
            }
        }).join();
    }
}
