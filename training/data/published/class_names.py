"""Names of the classes, in the order of the published labels.

The order is that of the public code's scripts (github.com/Gray-OREO/MST-Distill, `data_preprocess`); the 40 classes of
NYU-Depth-V2 are those of Gupta et al. (CVPR 2013).
"""

from __future__ import annotations


def _names(text: str) -> tuple[str, ...]:
    """Split a list of names, which semicolons part."""
    return tuple(" ".join(name.split()) for name in text.split(";"))


AVMNIST = tuple(str(digit) for digit in range(10))

RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")

CRISISMMD = _names("""
    not_humanitarian; affected_individuals; infrastructure_and_utility_damage; injured_or_dead_people;
    missing_or_found_people; rescue_volunteering_or_donation_effort; vehicle_damage; other_relevant_information
""")

# The first is no class: pixels that have it do not count. It keeps its logit, as published.
NYU = _names("""
    unlabelled; wall; floor; cabinet; bed; chair; sofa; table; door; window; bookshelf; picture; counter; blinds;
    desk; shelves; curtain; dresser; pillow; mirror; floor mat; clothes; ceiling; books; refrigerator; television;
    paper; towel; shower curtain; box; whiteboard; person; night stand; toilet; sink; lamp; bathtub; bag;
    other structure; other furniture; other prop
""")

VGGSOUND = _names("""
    engine accelerating; playing trumpet; race car; orchestra; lighting firecrackers; playing violin; playing erhu;
    playing bass guitar; playing snare drum; cat purring; playing harp; people sniggering; child singing;
    goose honking; ice cream truck; playing bagpipes; electric shaver; people booing; driving buses; train horning;
    police car (siren); wind noise; playing clarinet; people burping; vehicle horn; playing cymbal; singing bowl;
    playing badminton; stream burbling; cap gun shooting; male singing; vacuum cleaner cleaning floors;
    rope skipping; arc welding; scuba diving; playing bassoon; people clapping; playing harpsichord; beat boxing;
    playing double bass; railroad car; playing cello; basketball bounce; playing tabla; civil defense siren;
    pheasant crowing; playing accordion; gibbon howling; playing drum kit; people marching; rowboat;
    tractor digging; dog barking; toilet flushing; cricket chirping; playing french horn; playing acoustic guitar;
    playing banjo; playing volleyball; car engine knocking; female singing; playing mandolin; bird chirping;
    dog howling; playing squash; mynah bird singing; machine gun shooting; airplane flyby; child speech;
    missile launch; fireworks banging; ambulance siren; playing marimba; fire truck siren; playing cornet; pigeon;
    skateboarding; chainsawing trees; people screaming; people crowd; skidding; playing saxophone;
    playing didgeridoo; playing vibraphone; playing bongo; motorboat; subway; bowling impact; playing piano;
    dog growling; lions roaring; planing timber; skiing; lawn mowing; playing electric guitar; playing sitar;
    lathe spinning; playing bass drum; typing on typewriter; driving motorcycle; sharpen knife; people cheering;
    ocean burbling; church bell ringing; singing choir; playing electronic organ; horse clip-clop; people whistling;
    playing glockenspiel; people whispering; male speech; owl hooting; frog croaking; female speech;
    playing tambourine; playing table tennis; printer printing; roller coaster running; crow cawing;
    police radio chatter; turkey gobbling; tap dancing; playing synthesizer; helicopter; playing hammond organ;
    chicken crowing; cattle; playing steel guitar; woodpecker pecking tree; cattle mooing; playing trombone;
    playing flute; playing ukulele; volcano explosion; canary calling; baby laughter; playing harmonica;
    slot machine; playing theremin; yodelling; tapping guitar
""")
