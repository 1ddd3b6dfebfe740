//! Colours, fonts and sizes: the design tokens, for dark and for light.

use std::sync::{Arc, LazyLock};

use eframe::egui::{
    self, Color32, CornerRadius, FontData, FontDefinitions, FontFamily, FontId, Shadow, Stroke,
    Theme, Ui, Vec2, Visuals,
};

/// Radii of corners, by what has them.
pub mod radius {
    pub const CHIP: u8 = 4;
    pub const CONTROL: u8 = 6;
    pub const CARD: u8 = 8;
    pub const DIALOG: u8 = 10;
}

/// Every colour that the console uses.
#[derive(Debug)]
pub struct Tokens {
    pub dark: bool,
    pub bg: Color32,
    pub panel: Color32,
    pub card: Color32,
    pub raised: Color32,
    pub hover: Color32,
    pub line: Color32,
    pub line2: Color32,
    pub hi: Color32,
    pub text: Color32,
    pub dim: Color32,
    /// Decoration only: not enough contrast for text.
    pub faint: Color32,
    /// Also what was measured.
    pub accent: Color32,
    pub button: Color32,
    pub on_button: Color32,
    pub selected: Color32,
    /// Forecasts and shadows.
    pub cast: Color32,
    pub ok: Color32,
    pub watch: Color32,
    pub risk: Color32,
    pub critical: Color32,
    pub backdrop: Color32,
    ramp: [(f32, Color32); 8],
}

const fn rgb(hex: u32) -> Color32 {
    Color32::from_rgb((hex >> 16) as u8, (hex >> 8) as u8, hex as u8)
}

static DARK: Tokens = Tokens {
    dark: true,
    bg: rgb(0x000B_0E13),
    panel: rgb(0x0010_141B),
    card: rgb(0x0015_1A23),
    raised: rgb(0x001C_222D),
    hover: rgb(0x0023_2B38),
    line: rgb(0x0021_2936),
    line2: rgb(0x0030_3A4A),
    hi: rgb(0x00F0_F3F8),
    text: rgb(0x00C3_CBD8),
    dim: rgb(0x008A_95A6),
    faint: rgb(0x006F_7B8E),
    accent: rgb(0x0055_98FF),
    button: rgb(0x002E_6BE6),
    on_button: rgb(0x00FF_FFFF),
    selected: rgb(0x0016_243D),
    cast: rgb(0x00CD_B9FF),
    ok: rgb(0x002F_B59C),
    watch: rgb(0x00F4_DD6B),
    risk: rgb(0x00EE_8530),
    critical: rgb(0x00FF_4F64),
    backdrop: Color32::from_black_alpha(150),
    ramp: [
        (0.0, rgb(0x001A_2233)),
        (0.18, rgb(0x0022_3A5E)),
        (0.36, rgb(0x0022_5C7E)),
        (0.52, rgb(0x001F_8183)),
        (0.66, rgb(0x0043_A777)),
        (0.80, rgb(0x009C_C957)),
        (0.90, rgb(0x00F0_DC4E)),
        (1.0, rgb(0x00FF_F6B8)),
    ],
};

static LIGHT: Tokens = Tokens {
    dark: false,
    bg: rgb(0x00E9_ECF1),
    panel: rgb(0x00F4_F6F9),
    card: rgb(0x00FF_FFFF),
    raised: rgb(0x00F0_F2F6),
    hover: rgb(0x00E6_EAF1),
    line: rgb(0x00DD_E2EA),
    line2: rgb(0x00C6_CEDA),
    hi: rgb(0x0010_151E),
    text: rgb(0x002E_3746),
    dim: rgb(0x005B_6677),
    faint: rgb(0x006E_7A8B),
    accent: rgb(0x001A_4FBF),
    button: rgb(0x0025_63EB),
    on_button: rgb(0x00FF_FFFF),
    selected: rgb(0x00E4_EDFF),
    cast: rgb(0x007E_57E6),
    ok: rgb(0x000A_7666),
    watch: rgb(0x009C_7A00),
    risk: rgb(0x009A_3D00),
    critical: rgb(0x00C4_103A),
    backdrop: Color32::from_black_alpha(90),
    ramp: [
        (0.0, rgb(0x00ED_F2F4)),
        (0.18, rgb(0x00CB_E3DE)),
        (0.36, rgb(0x0098_CCC3)),
        (0.52, rgb(0x0056_A8AC)),
        (0.66, rgb(0x002F_809B)),
        (0.80, rgb(0x0027_5182)),
        (0.90, rgb(0x002A_2A63)),
        (1.0, rgb(0x002A_1650)),
    ],
};

impl Tokens {
    /// The colour of a load between 0 and 1.
    pub fn heat(&self, value: f32) -> Color32 {
        let value = value.clamp(0.0, 1.0);
        let upper = self.ramp[1..]
            .iter()
            .position(|(stop, _)| value <= *stop)
            .unwrap_or(6)
            + 1;
        let (from, low) = self.ramp[upper - 1];
        let (to, high) = self.ramp[upper];
        low.lerp_to_gamma(high, (value - from) / (to - from))
    }

    /// A wash of `colour` over a card, for bands and chips.
    pub fn tint(&self, colour: Color32, strength: f32) -> Color32 {
        self.card.lerp_to_gamma(colour, strength)
    }
}

/// The tokens of the theme that `ui` is drawn in.
pub fn of(ui: &Ui) -> &'static Tokens {
    tokens(if ui.visuals().dark_mode {
        Theme::Dark
    } else {
        Theme::Light
    })
}

pub fn tokens(theme: Theme) -> &'static Tokens {
    match theme {
        Theme::Dark => &DARK,
        Theme::Light => &LIGHT,
    }
}

static MEDIUM: LazyLock<FontFamily> = LazyLock::new(|| FontFamily::Name("medium".into()));
static SEMIBOLD: LazyLock<FontFamily> = LazyLock::new(|| FontFamily::Name("semibold".into()));
static MONO_MEDIUM: LazyLock<FontFamily> = LazyLock::new(|| FontFamily::Name("mono-medium".into()));
static ICONS: LazyLock<FontFamily> =
    LazyLock::new(|| FontFamily::Name(egui_material_icons::FONT_FAMILY.into()));

pub fn regular(size: f32) -> FontId {
    FontId::proportional(size)
}

pub fn medium(size: f32) -> FontId {
    FontId::new(size, MEDIUM.clone())
}

pub fn semibold(size: f32) -> FontId {
    FontId::new(size, SEMIBOLD.clone())
}

/// For numbers that line up.
pub fn mono(size: f32) -> FontId {
    FontId::monospace(size)
}

pub fn mono_medium(size: f32) -> FontId {
    FontId::new(size, MONO_MEDIUM.clone())
}

pub fn icons(size: f32) -> FontId {
    FontId::new(size, ICONS.clone())
}

/// Puts fonts and both styles into the context, once.
pub fn install(ctx: &egui::Context) {
    ctx.set_fonts(fonts());
    ctx.add_font(egui_material_icons::font_insert());
    ctx.set_visuals_of(Theme::Dark, visuals(&DARK));
    ctx.set_visuals_of(Theme::Light, visuals(&LIGHT));
    ctx.all_styles_mut(|style| {
        style.spacing.item_spacing = Vec2::ZERO;
        style.spacing.scroll = egui::style::ScrollStyle::floating();
        style.interaction.tooltip_delay = 0.35;
        style.interaction.selectable_labels = false;
        style.text_styles = [
            (egui::TextStyle::Body, regular(13.0)),
            (egui::TextStyle::Button, medium(13.0)),
            (egui::TextStyle::Heading, semibold(16.0)),
            (egui::TextStyle::Small, regular(11.0)),
            (egui::TextStyle::Monospace, mono(13.0)),
        ]
        .into();
    });
}

fn fonts() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let files: [(&str, &'static [u8]); 5] = [
        (
            "inter",
            include_bytes!("../../assets/fonts/Inter-Regular.otf"),
        ),
        (
            "inter-medium",
            include_bytes!("../../assets/fonts/Inter-Medium.otf"),
        ),
        (
            "inter-semibold",
            include_bytes!("../../assets/fonts/Inter-SemiBold.otf"),
        ),
        (
            "mono",
            include_bytes!("../../assets/fonts/JetBrainsMono-Regular.ttf"),
        ),
        (
            "mono-medium",
            include_bytes!("../../assets/fonts/JetBrainsMono-Medium.ttf"),
        ),
    ];
    for (name, bytes) in files {
        fonts
            .font_data
            .insert(name.to_owned(), Arc::new(FontData::from_static(bytes)));
    }
    let mut family = |family: FontFamily, first: &str, then: &str| {
        let chain = fonts.families.entry(family).or_default();
        chain.insert(0, first.to_owned());
        chain.insert(1, then.to_owned());
    };
    family(FontFamily::Proportional, "inter", "mono");
    family(MEDIUM.clone(), "inter-medium", "mono-medium");
    family(SEMIBOLD.clone(), "inter-semibold", "mono-medium");
    family(FontFamily::Monospace, "mono", "inter");
    family(MONO_MEDIUM.clone(), "mono-medium", "inter-medium");
    fonts
}

fn visuals(tokens: &Tokens) -> Visuals {
    let mut visuals = if tokens.dark {
        Visuals::dark()
    } else {
        Visuals::light()
    };
    visuals.panel_fill = tokens.bg;
    visuals.window_fill = tokens.card;
    visuals.window_stroke = Stroke::new(1.0, tokens.line2);
    visuals.extreme_bg_color = tokens.bg;
    visuals.selection.bg_fill = tokens.accent.gamma_multiply(0.35);
    visuals.selection.stroke = Stroke::new(1.0, tokens.accent);
    visuals.hyperlink_color = tokens.accent;
    visuals.window_corner_radius = CornerRadius::same(radius::DIALOG);
    visuals.menu_corner_radius = CornerRadius::same(radius::CARD);
    visuals.popup_shadow = Shadow {
        offset: [0, 6],
        blur: 20,
        spread: 0,
        color: Color32::from_black_alpha(if tokens.dark { 110 } else { 40 }),
    };
    visuals.window_shadow = visuals.popup_shadow;
    visuals.text_cursor.stroke = Stroke::new(2.0, tokens.accent);
    let widgets = &mut visuals.widgets;
    for (state, fill, edge, ink) in [
        (
            &mut widgets.noninteractive,
            tokens.panel,
            tokens.line,
            tokens.text,
        ),
        (
            &mut widgets.inactive,
            tokens.raised,
            tokens.line2,
            tokens.text,
        ),
        (&mut widgets.hovered, tokens.hover, tokens.line2, tokens.hi),
        (&mut widgets.active, tokens.hover, tokens.accent, tokens.hi),
        (&mut widgets.open, tokens.raised, tokens.line2, tokens.hi),
    ] {
        state.bg_fill = fill;
        state.weak_bg_fill = fill;
        state.bg_stroke = Stroke::new(1.0, edge);
        state.fg_stroke = Stroke::new(1.0, ink);
        state.corner_radius = CornerRadius::same(radius::CONTROL);
        state.expansion = 0.0;
    }
    visuals
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heat_ramp_meets_its_stops() {
        assert_eq!(DARK.heat(0.0), rgb(0x001A_2233));
        assert_eq!(DARK.heat(0.52), rgb(0x001F_8183));
        assert_eq!(DARK.heat(7.0), rgb(0x00FF_F6B8));
    }
}
