//! Normalizes SQL for the comparison: it splits statements into tokens, finds the row that a test is about, and gives
//! expressions with the same meaning the same text, whatever their aliases, casts, parentheses and order of operands.

use std::ops::ControlFlow;

use sqlparser::ast::{BinaryOperator, Expr, InTarget, UnaryOperator, Value, visit_expressions};
use sqlparser::tokenizer::{Token, Tokenizer};

use crate::DIALECT;

/// Splits the text at this token; without comments and white space.
pub(crate) fn split(text: &str, at: &Token) -> Vec<Vec<Token>> {
    let tokens =
        Tokenizer::new(&DIALECT, text).tokenize().unwrap_or_else(|error| panic!("{error}: {text:.200}"));
    let tokens = tokens.into_iter().filter(|token| !matches!(token, Token::Whitespace(_)));
    let mut tokens: Vec<Token> = tokens.collect();
    // The parser knows `for update`, but not `for no key update`. Neither is a rule, so drop the two words.
    while let Some(at) = tokens.windows(2).position(|two| is_word(&two[0], "no") && is_word(&two[1], "key")) {
        tokens.drain(at..at + 2);
    }
    tokens.split(|token| token == at).map(<[Token]>::to_vec).filter(|part| !part.is_empty()).collect()
}

pub(crate) fn words(tokens: &[Token]) -> String {
    let words: Vec<String> = tokens.iter().map(|token| token.to_string().to_lowercase()).collect();
    words.join(" ").replace(" . ", ".")
}

pub(crate) fn is_word(token: &Token, word: &str) -> bool {
    matches!(token, Token::Word(found) if found.value.eq_ignore_ascii_case(word))
}

/// `a op (b op c)` as a, b, c.
pub(crate) fn chain<'a>(expression: &'a Expr, of: &BinaryOperator) -> Vec<&'a Expr> {
    match expression {
        Expr::Nested(inner) => chain(inner, of),
        Expr::BinaryOp { left, op, right } if op == of => [chain(left, of), chain(right, of)].concat(),
        other => vec![other],
    }
}

/// The row that a test is about, if it tests a column for null or against a constant or the clock.
pub(crate) fn tested(expression: &Expr) -> Option<String> {
    let row = |column: &Expr| match bare(column) {
        Expr::CompoundIdentifier(parts) => {
            parts.split_last().map(|(_, row)| row.iter().map(|part| part.value.to_lowercase()).collect())
        }
        Expr::Identifier(_) => Some(String::new()),
        _ => None,
    };
    let fixed = |value: &Expr| match bare(value) {
        Expr::Value(value) => !matches!(value.value, Value::Placeholder(_)),
        Expr::Function(function) => function.to_string().to_lowercase().starts_with("now"),
        Expr::Interval(_) => true,
        _ => false,
    };
    match bare(expression) {
        Expr::IsNull(column) | Expr::IsNotNull(column) => row(column),
        Expr::BinaryOp { left, op, right } if is_comparison(op) => {
            if fixed(right) {
                row(left)
            } else if fixed(left) {
                row(right)
            } else {
                None
            }
        }
        Expr::In { expr, target: InTarget::List(list), .. } if list.iter().all(fixed) => row(expr),
        _ => None,
    }
}

/// Without parentheses and casts.
fn bare(expression: &Expr) -> &Expr {
    match expression {
        Expr::Nested(inner) => bare(inner),
        Expr::Cast { expr, .. } => bare(expr),
        other => other,
    }
}

fn is_comparison(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq)
}

pub(crate) fn is_arithmetic(expression: &Expr) -> bool {
    use BinaryOperator::{Divide, Minus, Multiply, Plus};
    matches!(
        bare(expression),
        Expr::BinaryOp { op: Plus | Minus | Multiply | Divide, .. } | Expr::Function(_)
    )
}

/// The number of arithmetic operators and function calls in an expression.
pub(crate) fn steps(expression: &Expr) -> usize {
    let mut steps = 0;
    let _all = visit_expressions(expression, |inner| {
        steps += usize::from(!matches!(inner, Expr::Nested(_)) && is_arithmetic(inner));
        ControlFlow::<()>::Continue(())
    });
    // A cast around a step is visited as well as the step.
    steps - usize::from(steps > 0 && matches!(expression, Expr::Cast { .. }))
}

pub(crate) fn has_constant(expression: &Expr) -> bool {
    let mut found = false;
    let _all = visit_expressions(expression, |inner| {
        if let Expr::Value(value) = inner
            && let Value::Number(number, _) = &value.value
        {
            found |= !["0", "1", "2"].contains(&number.as_str());
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// The same text for the same meaning: no aliases, casts or parentheses, operands in order, `>` as `<`.
pub(crate) fn canonical(expression: &Expr) -> String {
    use BinaryOperator::{And, Eq, Gt, GtEq, Lt, LtEq, Minus, Multiply, NotEq, Or, Plus};
    match bare(expression) {
        Expr::Identifier(name) => name.value.to_lowercase(),
        Expr::CompoundIdentifier(parts) => {
            parts.last().map_or_else(String::new, |name| name.value.to_lowercase())
        }
        Expr::Value(value) => match &value.value {
            Value::Placeholder(_) => "?".to_owned(),
            Value::Number(number, _) => number.trim_end_matches(".0").to_owned(),
            other => other.to_string(),
        },
        Expr::BinaryOp { left: _, op: op @ (Plus | Multiply | And | Or), right: _ } => {
            let mut parts: Vec<String> = chain(bare(expression), op).into_iter().map(canonical).collect();
            parts.sort();
            format!("({})", parts.join(&format!(" {op} ")))
        }
        Expr::BinaryOp { left, op: op @ (Eq | NotEq), right } => {
            let mut parts = [canonical(left), canonical(right)];
            parts.sort();
            parts.join(&format!(" {op} "))
        }
        Expr::BinaryOp { left, op: Gt, right } => format!("{} {Lt} {}", canonical(right), canonical(left)),
        Expr::BinaryOp { left, op: GtEq, right } => {
            format!("{} {LtEq} {}", canonical(right), canonical(left))
        }
        Expr::BinaryOp { left, op, right } => format!("({} {op} {})", canonical(left), canonical(right)),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => format!("{Minus}{}", canonical(expr)),
        Expr::UnaryOp { op, expr } => format!("{op} {}", canonical(expr)),
        Expr::IsNull(inner) => format!("{} is null", canonical(inner)),
        Expr::IsNotNull(inner) => format!("{} is not null", canonical(inner)),
        Expr::In { expr, target: InTarget::List(list), negated, .. } => {
            let mut list: Vec<String> = list.iter().map(canonical).collect();
            list.sort();
            format!("{}{} in {list:?}", if *negated { "not " } else { "" }, canonical(expr))
        }
        Expr::Function(function) => {
            let name = function.name.0.last().map_or_else(String::new, ToString::to_string).to_lowercase();
            let mut arguments = Vec::new();
            if let sqlparser::ast::FunctionArguments::List(list) = &function.args {
                for argument in &list.args {
                    arguments.push(match argument {
                        sqlparser::ast::FunctionArg::Unnamed(sqlparser::ast::FunctionArgExpr::Expr(
                            inner,
                        )) => canonical(inner),
                        other => other.to_string().to_lowercase(),
                    });
                }
            }
            format!("{name}({})", arguments.join(", "))
        }
        Expr::Extract { field, expr, .. } => format!("extract({field} {})", canonical(expr)).to_lowercase(),
        other => other.to_string().to_lowercase(),
    }
}
