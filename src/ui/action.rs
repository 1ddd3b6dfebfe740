//! What an operator can do by key: each action is one value with its text, its tooltip and its shortcut, so that
//! buttons, keys and the list of keys never diverge.

use eframe::egui::{Context, InputState, Key, KeyboardShortcut, Modifiers};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    Now,
    Fleet,
    Capacity,
    Shadows,
    Timeline,
    Events,
    Sources,
    Settings,
    Find,
    Next,
    Previous,
    Open,
    Close,
    Approve,
    Confirm,
    Snooze,
    Reject,
    Undo,
    Propose,
    Promote,
    Validate,
    Filter,
    Freeze,
    Theme,
    Keys,
}

impl Action {
    pub const ALL: [Self; 25] = [
        Self::Now,
        Self::Fleet,
        Self::Capacity,
        Self::Shadows,
        Self::Timeline,
        Self::Events,
        Self::Sources,
        Self::Settings,
        Self::Find,
        Self::Next,
        Self::Previous,
        Self::Open,
        Self::Close,
        Self::Approve,
        Self::Confirm,
        Self::Snooze,
        Self::Reject,
        Self::Undo,
        Self::Propose,
        Self::Promote,
        Self::Validate,
        Self::Filter,
        Self::Freeze,
        Self::Theme,
        Self::Keys,
    ];

    pub const fn text(self) -> &'static str {
        match self {
            Self::Now => "Now",
            Self::Fleet => "Fleet",
            Self::Capacity => "Capacity",
            Self::Shadows => "Shadows",
            Self::Timeline => "Timeline",
            Self::Events => "Events",
            Self::Sources => "Sources",
            Self::Settings => "Settings",
            Self::Find => "Find a VM",
            Self::Next => "Next",
            Self::Previous => "Previous",
            Self::Open => "Open",
            Self::Close => "Close",
            Self::Approve => "Review and approve",
            Self::Confirm => "Approve",
            Self::Snooze => "Snooze",
            Self::Reject => "Reject",
            Self::Undo => "Undo",
            Self::Propose => "Propose shadow",
            Self::Promote => "Promote…",
            Self::Validate => "Validate now",
            Self::Filter => "Filter",
            Self::Freeze => "Freeze",
            Self::Theme => "Light or dark",
            Self::Keys => "All keys",
        }
    }

    pub const fn tooltip(self) -> &'static str {
        match self {
            Self::Now => "What needs a decision",
            Self::Fleet => "Every VM, as a heatmap and as a table",
            Self::Capacity => {
                "How long each pool lasts, what is kept for shadows, and what forecasts were worth"
            }
            Self::Shadows => "Each shadow with its lag, recovery points and traffic",
            Self::Timeline => "Operations with their steps, and what happened",
            Self::Events => "What is known to come, and what it does to the load",
            Self::Sources => "Connections to hypervisors and balancers",
            Self::Settings => "Thresholds, limits and gates, with what a change would do",
            Self::Find => "Jump to a VM by a part of its name",
            Self::Next => "Select the next item of the list",
            Self::Previous => "Select the item before",
            Self::Open => "Open the selected VM",
            Self::Close => "Close the dialog, or go back",
            Self::Approve => "Show what will run, and approve it",
            Self::Confirm => "Approve the plan that is shown",
            Self::Snooze => "Ask again in 30 minutes",
            Self::Reject => "Turn the proposal down",
            Self::Undo => "Stop the running operation and undo its steps",
            Self::Propose => "Work out a shadow for the selected VM",
            Self::Promote => "Work out how the selected shadow takes its VM's place",
            Self::Validate => "Work out how the selected shadow's newest point is tried in a clone",
            Self::Filter => "Type a filter: part of a name, pool:…, health:…",
            Self::Freeze => "Stop all automation at once, or let it go on",
            Self::Theme => "Dark, light, or as the system has it",
            Self::Keys => "Show this list",
        }
    }

    pub const fn shortcut(self) -> KeyboardShortcut {
        let (modifiers, key) = match self {
            Self::Now => (Modifiers::NONE, Key::Num1),
            Self::Fleet => (Modifiers::NONE, Key::Num2),
            Self::Capacity => (Modifiers::NONE, Key::Num3),
            Self::Shadows => (Modifiers::NONE, Key::Num4),
            Self::Timeline => (Modifiers::NONE, Key::Num5),
            Self::Events => (Modifiers::NONE, Key::Num6),
            Self::Sources => (Modifiers::NONE, Key::Num7),
            Self::Settings => (Modifiers::NONE, Key::Num8),
            Self::Find => (Modifiers::COMMAND, Key::K),
            Self::Next => (Modifiers::NONE, Key::J),
            Self::Previous => (Modifiers::NONE, Key::K),
            Self::Open => (Modifiers::NONE, Key::Enter),
            Self::Close => (Modifiers::NONE, Key::Escape),
            Self::Approve => (Modifiers::NONE, Key::A),
            Self::Confirm => (Modifiers::COMMAND, Key::Enter),
            Self::Snooze => (Modifiers::NONE, Key::S),
            Self::Reject => (Modifiers::NONE, Key::R),
            Self::Undo => (Modifiers::NONE, Key::Z),
            Self::Propose => (Modifiers::NONE, Key::P),
            Self::Promote => (Modifiers::SHIFT, Key::P),
            Self::Validate => (Modifiers::NONE, Key::V),
            Self::Filter => (Modifiers::NONE, Key::Slash),
            Self::Freeze => (Modifiers::SHIFT, Key::F),
            Self::Theme => (Modifiers::NONE, Key::T),
            Self::Keys => (Modifiers::NONE, Key::Questionmark),
        };
        KeyboardShortcut::new(modifiers, key)
    }

    /// The keys as they are shown.
    pub const fn keys(self) -> &'static str {
        match self {
            Self::Now => "1",
            Self::Fleet => "2",
            Self::Capacity => "3",
            Self::Shadows => "4",
            Self::Timeline => "5",
            Self::Events => "6",
            Self::Sources => "7",
            Self::Settings => "8",
            Self::Find => "Ctrl K",
            Self::Next => "J",
            Self::Previous => "K",
            Self::Open => "Enter",
            Self::Close => "Esc",
            Self::Approve => "A",
            Self::Confirm => "Ctrl Enter",
            Self::Snooze => "S",
            Self::Reject => "R",
            Self::Undo => "Z",
            Self::Propose => "P",
            Self::Promote => "Shift P",
            Self::Validate => "V",
            Self::Filter => "/",
            Self::Freeze => "Shift F",
            Self::Theme => "T",
            Self::Keys => "?",
        }
    }

    /// Works while a text field has the focus.
    const fn works_while_typing(self) -> bool {
        matches!(self, Self::Find | Self::Close | Self::Confirm)
    }

    fn pressed(self, input: &mut InputState) -> bool {
        let shortcut = self.shortcut();
        // `?` needs Shift on many keyboards and none on others.
        if self == Self::Keys {
            return input
                .events
                .iter()
                .any(|event| matches!(event, eframe::egui::Event::Text(text) if text == "?"))
                || input.key_pressed(Key::Questionmark);
        }
        if shortcut.modifiers == Modifiers::NONE && input.modifiers.any() {
            return false;
        }
        input.consume_shortcut(&shortcut)
    }
}

/// The actions whose keys were pressed since the last pass. While text is typed, only those that never are text; Enter
/// stays with a control that has the focus.
pub fn pressed(ctx: &Context) -> Vec<Action> {
    let typing = ctx.text_edit_focused();
    let focused = ctx.memory(|memory| memory.focused().is_some());
    let popup = eframe::egui::Popup::is_any_open(ctx);
    ctx.input_mut(|input| {
        // Longer shortcuts first: Ctrl+K must not count as K.
        let mut actions: Vec<Action> = Action::ALL.to_vec();
        actions.sort_by_key(|action| action.shortcut().modifiers == Modifiers::NONE);
        actions.retain(|action| {
            let free = !typing || action.works_while_typing();
            let mine = match action {
                Action::Open => !focused,
                Action::Close => !popup,
                _ => true,
            };
            free && mine && action.pressed(input)
        });
        actions
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_actions_share_their_keys() {
        for (index, action) in Action::ALL.iter().enumerate() {
            for other in &Action::ALL[index + 1..] {
                assert_ne!(action.shortcut(), other.shortcut(), "{action:?} {other:?}");
                assert_ne!(action.keys(), other.keys());
            }
        }
    }
}
