//! What was measured, against what was to be reached.

use super::pace::Paces;

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
        self.paced_row(what, bar, figure, unit, details, &[]);
    }

    /// Takes a figure down that came of requests at a rate. It meets no bar if the rate was another one.
    pub(super) fn paced_row(&mut self, what: &str, bar: Bar, figure: f64, unit: &str, details: &str, paces: &[&Paces]) {
        let (is_met, bar) = match bar {
            Bar::AtLeast(least) => (figure >= least, format!("at least {least}{unit}")),
            Bar::Below(most) => (figure < most, format!("below {most}{unit}")),
        };
        let together = |parts: Vec<String>| Some(parts.join("; ")).filter(|parts| !parts.is_empty());
        let verdict = match together(paces.iter().filter_map(|one| one.shortfall()).collect()) {
            Some(shortfall) => format!("NEITHER MET NOR MISSED, the rate was not reached ({shortfall})"),
            None if is_met => "met".to_owned(),
            None => "MISSED".to_owned(),
        };
        let doubt = together(paces.iter().filter_map(|one| one.doubt()).collect())
            .map_or_else(String::new, |doubt| format!(", BUT {doubt}"));
        let details = [vec![details.to_owned()], paces.iter().map(|one| one.summary()).collect()].concat().join("; ");
        let line = format!("| {what} | {bar} | **{figure:.2}{unit}** {verdict}{doubt} | {details} |");
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
