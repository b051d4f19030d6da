"""What can be chosen about the looks of the console."""

from django.utils.translation import gettext_lazy as _

THEMES = (("auto", _("As the system")), ("light", _("Light")), ("dark", _("Dark")))
LANGUAGES = (("en", "English"), ("ja", "日本語"))
