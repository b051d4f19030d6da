"""What can be wrong with a request to the console before a service sees it."""

from dataclasses import dataclass

from dozo.model.errors import DozoError, ErrorKind


@dataclass(eq=False)
class FormStale(DozoError):
    """A form that did not come from a page of this console, or from one that is too old."""

    code = "console.form_stale"
    kind = ErrorKind.FORBIDDEN
    text = "this form is out of date, so nothing was done"
    hint = "Go back, load the page again, and send the form once more."
    reason: str


@dataclass(eq=False)
class FieldInvalid(DozoError):
    """A field of a form holds what it cannot mean."""

    code = "console.field_invalid"
    kind = ErrorKind.USAGE
    text = "the field {self.field!r} cannot be {self.value!r}"
    hint = "Correct the field and send the form again."
    field: str
    value: str


@dataclass(eq=False)
class NotTyped(DozoError):
    """The name that confirms something was not typed."""

    code = "console.not_typed"
    kind = ErrorKind.USAGE
    text = "nothing was done: the name {self.name!r} was not typed"
    hint = "Type the name exactly as it is shown, to say that you mean it."
    name: str


@dataclass(eq=False)
class PageUnknown(DozoError):
    """No page has this address."""

    code = "console.page_unknown"
    kind = ErrorKind.NOT_FOUND
    text = "there is no page at this address"
    hint = "Check the address, or begin at the overview."


@dataclass(eq=False)
class NothingChosen(DozoError):
    """A form was sent in which something has to be chosen, and nothing was."""

    code = "console.nothing_chosen"
    kind = ErrorKind.USAGE
    text = "nothing was chosen, so nothing was done"
    hint = "Choose what is meant, and send the form again."
