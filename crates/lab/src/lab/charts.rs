//! The charts, as SVG.

use std::error::Error;

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::peers::Peer;
use super::results::{Results, number};
use super::workloads::SCALING;

pub(crate) struct Chart {
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) svg: String,
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = Result<(), Box<dyn Error>>;

/// Those for which there are numbers.
pub(crate) fn all(results: &Results) -> Vec<Chart> {
    let charts = [
        chart("ratios.svg", "Time of the peers, in multiples of that of corymb", ratios(results)),
        chart("memory.svg", "Resident memory of coroutines that sleep", memory(results)),
        chart("scaling.svg", "Operations a second, by the number of workers", scaling(results)),
    ];
    charts.into_iter().flatten().collect()
}

fn chart(file: &'static str, title: &'static str, drawing: Option<impl Draw>) -> Option<Chart> {
    let drawing = drawing?;
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, drawing.size()).into_drawing_area();
    let drawn = drawn(&area, title, &drawing);
    drop(area);
    match drawn {
        Ok(()) => Some(Chart { file, title, svg }),
        Err(why) => {
            eprintln!("{file} cannot be drawn: {why}");
            None
        }
    }
}

fn drawn(area: &Area<'_>, title: &str, drawing: &impl Draw) -> Drawn {
    area.fill(&WHITE)?;
    let (head, body) = area.split_vertically(HEAD);
    head.draw(&Text::new(title.to_owned(), (MARGIN, 12), text(20)))?;
    legend(&head, &drawing.peers())?;
    drawing.draw(&body)?;
    area.present()?;
    Ok(())
}

/// What is drawn under a title and a legend.
trait Draw {
    fn size(&self) -> (u32, u32);
    /// Those in the legend.
    fn peers(&self) -> Vec<Peer>;
    fn draw(&self, area: &Area<'_>) -> Drawn;
}

const WIDTH: u32 = 960;
const HEAD: i32 = 72;
const MARGIN: i32 = 16;

fn legend(area: &Area<'_>, peers: &[Peer]) -> Drawn {
    for (i, peer) in peers.iter().enumerate() {
        let x = MARGIN + i as i32 * 98;
        area.draw(&Rectangle::new([(x, 48), (x + 14, 60)], color(*peer).filled()))?;
        area.draw(&Text::new(peer.name(), (x + 20, 47), text(14)))?;
    }
    Ok(())
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&BLACK)
}

fn anchored(size: u32, across: HPos, along: VPos) -> TextStyle<'static> {
    text(size).pos(Pos::new(across, along))
}

/// Colours that can be told apart by those who see fewer of them, too.
const fn color(peer: Peer) -> RGBColor {
    match peer {
        Peer::Corymb => RGBColor(213, 94, 0),
        Peer::Tokio => RGBColor(0, 114, 178),
        Peer::TokioCt => RGBColor(86, 180, 233),
        Peer::Smol => RGBColor(0, 158, 115),
        Peer::Threads => RGBColor(150, 150, 150),
        Peer::May => RGBColor(204, 121, 167),
        Peer::Go => RGBColor(230, 159, 0),
        Peer::Kotlin => RGBColor(120, 70, 200),
        Peer::Java => RGBColor(110, 60, 20),
    }
}

/// A bar for each peer in each workload, from corymb's time to its own.
struct Ratios(Vec<(&'static str, Vec<Bar>)>);

struct Bar {
    peer: Peer,
    ratio: f64,
    /// What a reader has to know of it.
    mark: &'static str,
}

fn ratios(results: &Results) -> Option<Ratios> {
    let mut groups = Vec::new();
    for workload in results.workloads().into_iter().filter(|workload| workload.has_time()) {
        let time = |peer| results.cell(peer, workload.name, "ns_per_op");
        let Some(own) = time(Peer::Corymb) else { continue };
        let bar = |peer: &Peer| {
            let cell = time(*peer).filter(|cell| cell.median > 0.0)?;
            let mark = match (workload.apart(*peer), own.disturbed || cell.disturbed) {
                (Some(_), _) => " ¹",
                (None, true) => " †",
                (None, false) => "",
            };
            Some(Bar { peer: *peer, ratio: cell.median / own.median, mark })
        };
        let others = Peer::ALL.iter().filter(|peer| **peer != Peer::Corymb);
        let bars: Vec<_> = others.filter_map(bar).collect();
        if own.median > 0.0 && !bars.is_empty() {
            groups.push((workload.name, bars));
        }
    }
    (!groups.is_empty()).then_some(Ratios(groups))
}

impl Ratios {
    /// Bars, and the gaps between groups of them.
    fn rows(&self) -> usize {
        self.0.iter().map(|(_, bars)| bars.len() + 1).sum::<usize>() + 1
    }

    /// Powers of ten around all ratios, and one.
    fn range(&self) -> (f64, f64) {
        let all = self.0.iter().flat_map(|(_, bars)| bars.iter().map(|bar| bar.ratio));
        let (least, most) = all.fold((0.5, 2.0), |(a, b), x| (f64::min(a, x), f64::max(b, x)));
        (power_below(least), power_above(most * 1.5))
    }
}

fn power_below(x: f64) -> f64 {
    10_f64.powf(x.log10().floor())
}

fn power_above(x: f64) -> f64 {
    10_f64.powf(x.log10().ceil())
}

const BAR: usize = 11;

impl Draw for Ratios {
    fn size(&self) -> (u32, u32) {
        (WIDTH, HEAD as u32 + (self.rows() * BAR) as u32 + 70)
    }

    fn peers(&self) -> Vec<Peer> {
        let is_there =
            |peer: &&Peer| self.0.iter().any(|(_, bars)| bars.iter().any(|bar| bar.peer == **peer));
        Peer::ALL.iter().filter(is_there).copied().collect()
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let (low, high) = self.range();
        let rows = self.rows() as f64;
        let mut chart = ChartBuilder::on(area)
            .margin(MARGIN)
            .margin_right(3 * MARGIN)
            .x_label_area_size(50)
            .y_label_area_size(160)
            .build_cartesian_2d((low..high).log_scale(), 0.0..rows)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .disable_y_axis()
            .y_labels(0)
            .x_desc("time of the peer ÷ time of corymb (log scale; right of 1 corymb is quicker; †: disturbed, ¹: not comparable)")
            .x_label_formatter(&|x| multiple(*x))
            .label_style(text(13))
            .draw()?;
        let mut row = rows - 1.0;
        for (workload, bars) in &self.0 {
            let middle = row - bars.len() as f64 / 2.0;
            let y = chart.backend_coord(&(low, middle)).1 - area.get_base_pixel().1;
            let label = anchored(13, HPos::Right, VPos::Center);
            area.draw(&Text::new(*workload, (MARGIN + 152, y), label))?;
            for Bar { peer, ratio, mark } in bars {
                let bar = [(1.0, row - 0.95), (*ratio, row - 0.05)];
                chart.draw_series([Rectangle::new(bar, color(*peer).filled())])?;
                let (side, at) = if *ratio < 1.0 { (HPos::Right, -4) } else { (HPos::Left, 4) };
                let value = format!("{}{mark}", multiple(*ratio));
                let label = Text::new(value, (at, 0), anchored(10, side, VPos::Center));
                chart.draw_series([EmptyElement::at((*ratio, row - 0.5)) + label])?;
                row -= 1.0;
            }
            row -= 1.0;
        }
        let one = [(1.0, 0.0), (1.0, rows)];
        chart.draw_series([PathElement::new(one, color(Peer::Corymb).stroke_width(2))])?;
        Ok(())
    }
}

fn multiple(x: f64) -> String {
    if x < 0.1 { format!("{x:.3}×") } else { format!("{}×", short(x)) }
}

/// Without the decimals that say nothing.
fn short(x: f64) -> String {
    let text = number(x);
    match text.trim_end_matches('0').strip_suffix('.') {
        Some(whole) => whole.to_owned(),
        None => text,
    }
}

/// Bytes by the number of coroutines.
struct Memory(Vec<Series>);

struct Series {
    name: &'static str,
    peer: Peer,
    points: Vec<(f64, f64)>,
}

/// What a coroutine is to take.
const CLAIM: f64 = 100.0;
const COROUTINES: std::ops::Range<f64> = 1e3..1e6;

fn memory(results: &Results) -> Option<Memory> {
    let small = ["sleepers_1000", "sleepers_10000", "sleepers_100000", "million_sleepers"];
    let bare = [
        "sleepers_bare_1000",
        "sleepers_bare_10000",
        "sleepers_bare_100000",
        "million_sleepers_bare",
    ];
    let series = |name, peer, workloads: &[&str]| {
        let point = |workload: &&str| {
            let of = |field| results.cell(peer, workload, field).map(|cell| cell.median);
            let (n, bytes) = (of("n")?, of("bytes_per_task")?);
            (n >= COROUTINES.start && bytes > 0.0).then_some((n, n * bytes))
        };
        let mut points: Vec<_> = workloads.iter().filter_map(point).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by_key(|point| point.0);
        (!points.is_empty()).then_some(Series { name, peer, points })
    };
    let mut all = vec![series("launch(sleep(d))", Peer::Corymb, &bare)];
    all.extend(Peer::ALL.iter().map(|peer| series(peer.name(), *peer, &small)));
    let all: Vec<_> = all.into_iter().flatten().collect();
    (!all.is_empty()).then_some(Memory(all))
}

impl Draw for Memory {
    fn size(&self) -> (u32, u32) {
        (WIDTH, 600)
    }

    /// Each series has its name at its end instead.
    fn peers(&self) -> Vec<Peer> {
        Vec::new()
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let all = self.0.iter().flat_map(|series| series.points.iter().map(|point| point.1));
        let claimed = (COROUTINES.start * CLAIM, COROUTINES.end * CLAIM);
        let (least, most) = all.fold(claimed, |(a, b), x| (f64::min(a, x), f64::max(b, x)));
        let (plot, side) = area.split_horizontally(WIDTH as i32 - 310);
        let range = (power_below(least)..power_above(most)).log_scale();
        let mut chart = ChartBuilder::on(&plot)
            .margin(MARGIN)
            .margin_right(2 * MARGIN)
            .x_label_area_size(50)
            .y_label_area_size(80)
            .build_cartesian_2d(COROUTINES.log_scale(), range)?;
        chart
            .configure_mesh()
            .x_desc("coroutines (log scale)")
            .y_desc("growth of the resident set (log scale)")
            .x_label_formatter(&|n| short(*n))
            .y_label_formatter(&|bytes| amount(*bytes))
            .label_style(text(13))
            .draw()?;
        let claim = [COROUTINES.start, COROUTINES.end].map(|n| (n, n * CLAIM));
        chart.draw_series(DashedLineSeries::new(claim, 6, 4, BLACK.stroke_width(2)))?;
        for Series { name, peer, points } in &self.0 {
            let style = color(*peer).stroke_width(if *peer == Peer::Corymb { 3 } else { 2 });
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            let open = *name != peer.name();
            let dot = |at: &(f64, f64)| {
                let fill = if open { color(*peer).stroke_width(2) } else { color(*peer).filled() };
                Circle::new(*at, 4, fill)
            };
            chart.draw_series(points.iter().map(dot))?;
        }
        self.key(&side)
    }
}

impl Memory {
    /// Who is who, the largest first, as the lines end.
    fn key(&self, area: &Area<'_>) -> Drawn {
        let end = |series: &Series| series.points.last().map_or((1.0, 0.0), |point| *point);
        let each = |series: &Series| end(series).1 / end(series).0;
        let mut all: Vec<_> = self.0.iter().collect();
        all.sort_by(|a, b| each(b).total_cmp(&each(a)));
        area.draw(&Text::new("bytes a coroutine", (8, MARGIN), text(13)))?;
        let mut y = MARGIN + 24;
        for series in all {
            let swatch = [(8, y + 4), (26, y + 10)];
            area.draw(&Rectangle::new(swatch, color(series.peer).filled()))?;
            let few = if end(series).0 < COROUTINES.end {
                format!(" (of {})", number(end(series).0))
            } else {
                String::new()
            };
            let name = if series.name == series.peer.name() {
                format!("{}: {}{few}", series.name, number(each(series)))
            } else {
                format!("{} (○): {}{few}", series.name, number(each(series)))
            };
            area.draw(&Text::new(name, (34, y), text(13)))?;
            y += 24;
        }
        let line = PathElement::new([(8, y + 7), (26, y + 7)], BLACK.stroke_width(2));
        area.draw(&line)?;
        area.draw(&Text::new(format!("the aim (dashed): {CLAIM}"), (34, y), text(13)))?;
        Ok(())
    }
}

fn amount(bytes: f64) -> String {
    match bytes {
        ..1e6 => format!("{} kB", bytes / 1e3),
        ..1e9 => format!("{} MB", bytes / 1e6),
        _ => format!("{} GB", bytes / 1e9),
    }
}

/// A panel for each workload: millions of operations a second by the number of workers.
struct Scaling(Vec<(&'static str, Vec<Series>)>);

fn scaling(results: &Results) -> Option<Scaling> {
    let series = |workload: &str, peer: Peer| {
        let point = |workers: usize| {
            let cell = results.cell_at(peer, workload, "ns_per_op", workers)?;
            Some((workers as f64, 1e3 / cell.median))
        };
        let points: Vec<_> =
            results.workers(peer, workload).into_iter().filter_map(point).collect();
        (points.len() > 1).then_some(Series { name: peer.name(), peer, points })
    };
    let panel = |workload: &&'static str| {
        let all = Peer::ALL.iter().filter_map(|peer| series(workload, *peer));
        let all: Vec<_> = all.collect();
        (!all.is_empty()).then_some((*workload, all))
    };
    let panels: Vec<_> = SCALING.iter().filter_map(panel).collect();
    (!panels.is_empty()).then_some(Scaling(panels))
}

impl Draw for Scaling {
    fn size(&self) -> (u32, u32) {
        (WIDTH, HEAD as u32 + 320 * self.0.len().div_ceil(2) as u32)
    }

    fn peers(&self) -> Vec<Peer> {
        let is_there = |peer: &&Peer| {
            self.0.iter().any(|(_, all)| all.iter().any(|series| series.peer == **peer))
        };
        Peer::ALL.iter().filter(is_there).copied().collect()
    }

    fn draw(&self, area: &Area<'_>) -> Drawn {
        let panels = area.split_evenly((self.0.len().div_ceil(2), 2));
        for ((workload, all), area) in self.0.iter().zip(&panels) {
            let points = all.iter().flat_map(|series| &series.points);
            let (workers, rate) =
                points.fold((1.0, 0.0), |(a, b), (x, y)| (f64::max(a, *x), f64::max(b, *y)));
            let mut chart = ChartBuilder::on(area)
                .margin(MARGIN)
                .caption(*workload, ("sans-serif", 16))
                .x_label_area_size(44)
                .y_label_area_size(56)
                .build_cartesian_2d(0.8..workers + 0.2, 0.0..rate * 1.08)?;
            chart
                .configure_mesh()
                .disable_x_mesh()
                .x_labels(workers as usize * 5 + 1)
                .x_label_formatter(&|x| {
                    if (x - x.round()).abs() < 1e-6 { x.round().to_string() } else { String::new() }
                })
                .x_desc("workers")
                .y_desc("million operations a second")
                .label_style(text(12))
                .draw()?;
            for Series { peer, points, .. } in all {
                let style = color(*peer).stroke_width(if *peer == Peer::Corymb { 3 } else { 2 });
                chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
                let dot = |at: &(f64, f64)| Circle::new(*at, 4, color(*peer).filled());
                chart.draw_series(points.iter().map(dot))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::{line, results};
    use super::super::workloads;
    use super::*;

    #[test]
    fn nothing_is_drawn_of_nothing() {
        assert!(all(&results(Vec::new())).is_empty());
        let alone = line(Peer::Corymb, "hop", 10.0, &[]);
        assert!(all(&results(vec![alone])).is_empty());
    }

    #[test]
    fn charts_name_all_that_they_show() {
        let mut lines = Vec::new();
        for (i, peer) in Peer::ALL.iter().enumerate() {
            for workload in workloads::ALL {
                for workers in [1.0, 2.0] {
                    let (n, bytes) = (1_000.0 * 10_f64.powi(i as i32 % 4), 130.0 * (i + 1) as f64);
                    let more = [("n", n), ("bytes_per_task", bytes), ("workers", workers)];
                    lines.push(line(*peer, workload.name, 10.0 * (i + 1) as f64, &more));
                }
            }
        }
        let charts = all(&results(lines));
        let files: Vec<_> = charts.iter().map(|chart| chart.file).collect();
        assert_eq!(files, ["ratios.svg", "memory.svg", "scaling.svg"]);
        for Chart { file, title, svg } in &charts {
            assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{file}");
            assert!(svg.contains(title) && svg.contains("kotlin"), "{file}");
        }
        let [ratios, memory, scaling] = &charts[..] else { panic!("there are three") };
        assert!(ratios.svg.contains("semaphore_yield") && ratios.svg.contains("5×"));
        assert!(memory.svg.contains("bytes a coroutine") && memory.svg.contains("1,000,000"));
        assert!(scaling.svg.contains("channel_mpsc") && scaling.svg.contains("workers"));
    }
}
