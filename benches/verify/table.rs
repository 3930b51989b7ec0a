//! What was measured, against what was to be reached.

/// What a figure is to be.
#[derive(Clone, Copy)]
pub(super) enum Bar {
    AtLeast(f64),
    Below(f64),
}

#[derive(Default)]
pub(super) struct Table(Vec<String>);

impl Table {
    /// Takes a figure down, and how it came about.
    pub(super) fn row(&mut self, what: &str, bar: Bar, figure: f64, unit: &str, details: &str) {
        let (is_met, bar) = match bar {
            Bar::AtLeast(least) => (figure >= least, format!("at least {least}{unit}")),
            Bar::Below(most) => (figure < most, format!("below {most}{unit}")),
        };
        let verdict = if is_met { "met" } else { "MISSED" };
        let line = format!("| {what} | {bar} | **{figure:.2}{unit}** {verdict} | {details} |");
        println!("{line}");
        self.0.push(line);
    }

    pub(super) fn print(&self) {
        println!("\n| what | bar | figure | how it came about |\n|---|---|---|---|");
        for line in &self.0 {
            println!("{line}");
        }
    }
}
