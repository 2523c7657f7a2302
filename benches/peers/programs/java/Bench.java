import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** One program run: which workload, how often; it prints the one row. */
final class Bench {
    interface Rep {
        /** Returns the nanoseconds taken; may put named numbers into the map. */
        long run(Map<String, Double> extra) throws Exception;
    }

    final String workload;
    private final double scale = number("PEERS_SCALE", 1);
    private final int reps = (int) number("PEERS_REPS", 5);
    /** More than the native peers' one, so that what is measured is compiled code. */
    private final int warm = (int) number("PEERS_WARM", 5);

    Bench(String workload) {
        this.workload = workload;
    }

    /** Scales a size, in whole multiples of 1 000 where it was one. */
    int n(int n) {
        int unit = n % 1_000 == 0 ? 1_000 : 1;
        return Math.max((int) (n * scale) / unit * unit, unit);
    }

    /** Scales what each of several tasks does. */
    int each(int tasks, int n) {
        return n(tasks * n) / tasks;
    }

    /** Scales the leaves of a tree, in powers of ten. */
    int leaves(int all) {
        int leaves = all;
        while (leaves > 1_000 && leaves > all * scale) leaves /= 10;
        return leaves;
    }

    /** Runs the warm-up and then the measured repetitions of {@code ops} operations. */
    void time(int ops, Rep one) throws Exception {
        List<Double> ns = new ArrayList<>();
        Map<String, List<Double>> extras = new TreeMap<>();
        for (int rep = 0; rep < warm + reps; rep++) {
            Map<String, Double> extra = new TreeMap<>();
            long took = one.run(extra);
            if (rep < warm) continue;
            ns.add((double) took / ops);
            extra.forEach((name, x) -> extras.computeIfAbsent(name, k -> new ArrayList<>()).add(x));
        }
        Map<String, Double> medians = new TreeMap<>();
        extras.forEach((name, all) -> medians.put(name, median(all)));
        print(ops, ns, medians);
    }

    void print(int ops, List<Double> ns, Map<String, Double> extras) {
        Map<String, Object> row = new LinkedHashMap<>();
        double mid = median(ns);
        row.put("n", ops);
        row.put("ns_per_op", mid);
        row.put("ns_min", ns.stream().min(Double::compare).orElseThrow());
        row.put("ns_max", ns.stream().max(Double::compare).orElseThrow());
        row.put("reps", ns.size());
        row.put("ops_per_s", 1e9 / mid);
        row.putAll(extras);
        printRow(row);
    }

    void skip(String why) {
        printRow(Map.of("skipped", why));
    }

    void printRow(Map<String, ?> fields) {
        Map<String, Object> all = new LinkedHashMap<>();
        all.put("peer", "java");
        all.put("version", "JDK " + Runtime.version());
        all.put("workload", workload);
        all.putAll(fields);
        System.out.println(all.entrySet().stream()
                .map(e -> "\"" + e.getKey() + "\": " + json(e.getValue()))
                .collect(Collectors.joining(", ", "{", "}")));
        System.out.flush();
    }

    private static String json(Object x) {
        if (x instanceof String) return "\"" + x + "\"";
        if (x instanceof Double) return String.format(Locale.ROOT, "%.2f", x);
        return x.toString();
    }

    private static double number(String name, double otherwise) {
        String x = System.getenv(name);
        return x == null ? otherwise : Double.parseDouble(x);
    }

    private static double median(List<Double> all) {
        List<Double> sorted = all.stream().sorted().collect(Collectors.toList());
        int mid = sorted.size() / 2;
        return sorted.size() % 2 == 1 ? sorted.get(mid) : (sorted.get(mid - 1) + sorted.get(mid)) / 2;
    }

    /** User plus system nanoseconds of this process so far, collector and compiler included. */
    static long cpuTime() {
        var os = (com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        return os.getProcessCpuTime();
    }

    /** A field of /proc/self/status in bytes, such as VmRSS or VmHWM. */
    static double memory(String field) throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith(field)) return Double.parseDouble(line.split("\\s+")[1]) * 1024;
        }
        throw new IOException(field);
    }

    /** Bytes of live objects, after a collection. */
    static double liveHeap() {
        System.gc();
        return Runtime.getRuntime().totalMemory() - Runtime.getRuntime().freeMemory();
    }

    static long sumBelow(int n) {
        return (long) n * (n - 1) / 2;
    }

    static int treeNodes(int leaves) {
        int total = 0;
        for (int level = 1; level <= leaves; level *= 10) total += level;
        return total;
    }

    static void check(long got, long want) {
        if (got != want) throw new IllegalStateException("got " + got + ", want " + want);
    }

    /** Draws the sleeps of timers_churn; one per task, seeded with its index. */
    static final class Lcg {
        private long state;

        Lcg(long seed) {
            state = seed;
        }

        long sleepMicros() {
            state = state * 6364136223846793005L + 1442695040888963407L;
            return (state >>> 33) % Main.CHURN_MAX_US;
        }
    }
}
